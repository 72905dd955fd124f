# kekd's side: workers as processes.
noinst_LIBRARIES += libkek-pool.a
noinst_HEADERS += src/pool/front.h tests/unit/pool_record.h tests/unit/pool_rig.h
libkek_pool_a_SOURCES = \
	src/pool/answer.c \
	src/pool/choose.c \
	src/pool/attest.c \
	src/pool/describe.c \
	src/pool/dispatch.c \
	src/pool/due.c \
	src/pool/known.c \
	src/pool/message.c \
	src/pool/outcome.c \
	src/pool/poison.c \
	src/pool/pool.c \
	src/pool/program.c \
	src/pool/queue.c \
	src/pool/shared.c \
	src/pool/start.c \
	src/pool/supervise.c \
	src/pool/timing.c \
	src/pool/worker.c
libkek_pool_a_CFLAGS = $(AM_CFLAGS) $(PROTOBUF_C_CFLAGS)
# It has libexecdir in it, which a configure that is run anew may set otherwise.
src/pool/libkek_pool_a-program.$(OBJEXT): Makefile
POOL_LIBS = libkek-pool.a libkek-login.a libkek-proto.a $(PROTOBUF_C_LIBS) $(JANSSON_LIBS)

pkglibexec_PROGRAMS += kekd-as
kekd_as_SOURCES = src/pool/as.c
kekd_as_LDADD = libkek-base.a

if HAVE_CHECK
check_PROGRAMS += tests/unit/fake_worker
tests_unit_fake_worker_CFLAGS = $(AM_CFLAGS) $(PROTOBUF_C_CFLAGS)
tests_unit_fake_worker_LDADD = $(POOL_LIBS) $(BASE_LIBS)

POOL_TESTS = tests/unit/test_pool tests/unit/test_pool_deaths tests/unit/test_pool_life tests/unit/test_pool_pin \
	tests/unit/test_pool_recycle tests/unit/test_pool_tries \
	tests/unit/test_pool_queue tests/unit/test_pool_succession tests/unit/test_pool_token tests/unit/test_pool_workers
check_PROGRAMS += $(POOL_TESTS)
TESTS += $(POOL_TESTS)
tests_unit_test_pool_SOURCES = tests/unit/test_pool.c tests/unit/pool_rig.c
tests_unit_test_pool_CFLAGS = $(UNIT_CFLAGS) $(PROTOBUF_C_CFLAGS)
tests_unit_test_pool_LDADD = $(POOL_LIBS) $(BASE_LIBS) $(UNIT_LIBS)
tests_unit_test_pool_life_SOURCES = tests/unit/test_pool_life.c tests/unit/pool_rig.c
tests_unit_test_pool_life_CFLAGS = $(UNIT_CFLAGS) $(PROTOBUF_C_CFLAGS)
tests_unit_test_pool_life_LDADD = $(POOL_LIBS) $(BASE_LIBS) $(UNIT_LIBS)
tests_unit_test_pool_recycle_SOURCES = tests/unit/test_pool_recycle.c tests/unit/pool_rig.c
tests_unit_test_pool_recycle_CFLAGS = $(UNIT_CFLAGS) $(PROTOBUF_C_CFLAGS)
tests_unit_test_pool_recycle_LDADD = $(POOL_LIBS) $(BASE_LIBS) $(UNIT_LIBS)
tests_unit_test_pool_pin_SOURCES = tests/unit/test_pool_pin.c tests/unit/pool_rig.c
tests_unit_test_pool_pin_CFLAGS = $(UNIT_CFLAGS) $(PROTOBUF_C_CFLAGS)
tests_unit_test_pool_pin_LDADD = $(POOL_LIBS) $(BASE_LIBS) $(UNIT_LIBS)
tests_unit_test_pool_tries_SOURCES = tests/unit/test_pool_tries.c tests/unit/pool_rig.c
tests_unit_test_pool_tries_CFLAGS = $(UNIT_CFLAGS) $(PROTOBUF_C_CFLAGS)
tests_unit_test_pool_tries_LDADD = $(POOL_LIBS) $(BASE_LIBS) $(UNIT_LIBS)
tests_unit_test_pool_queue_SOURCES = tests/unit/test_pool_queue.c tests/unit/pool_rig.c
tests_unit_test_pool_queue_CFLAGS = $(UNIT_CFLAGS) $(PROTOBUF_C_CFLAGS)
tests_unit_test_pool_queue_LDADD = $(POOL_LIBS) $(BASE_LIBS) $(UNIT_LIBS)
tests_unit_test_pool_token_SOURCES = tests/unit/test_pool_token.c tests/unit/pool_rig.c
tests_unit_test_pool_token_CFLAGS = $(UNIT_CFLAGS) $(PROTOBUF_C_CFLAGS)
tests_unit_test_pool_token_LDADD = $(POOL_LIBS) $(BASE_LIBS) $(UNIT_LIBS)
tests_unit_test_pool_succession_SOURCES = tests/unit/test_pool_succession.c tests/unit/pool_rig.c
tests_unit_test_pool_succession_CFLAGS = $(UNIT_CFLAGS) $(PROTOBUF_C_CFLAGS)
tests_unit_test_pool_succession_LDADD = $(POOL_LIBS) $(BASE_LIBS) $(UNIT_LIBS)
tests_unit_test_pool_workers_SOURCES = tests/unit/test_pool_workers.c tests/unit/pool_rig.c
tests_unit_test_pool_workers_CFLAGS = $(UNIT_CFLAGS) $(PROTOBUF_C_CFLAGS)
tests_unit_test_pool_workers_LDADD = $(POOL_LIBS) $(BASE_LIBS) $(UNIT_LIBS)
tests_unit_test_pool_deaths_SOURCES = tests/unit/test_pool_deaths.c tests/unit/pool_rig.c
tests_unit_test_pool_deaths_CFLAGS = $(UNIT_CFLAGS) $(PROTOBUF_C_CFLAGS)
tests_unit_test_pool_deaths_LDADD = $(POOL_LIBS) $(BASE_LIBS) $(UNIT_LIBS)
endif
