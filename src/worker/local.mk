# The worker's side: libkek-serve.a.
noinst_LIBRARIES += libkek-serve.a
libkek_serve_a_SOURCES = \
	src/worker/again.c \
	src/worker/fail.c \
	src/worker/serve.c \
	src/worker/serve.h \
	src/worker/serve_attest.c \
	src/worker/serve_describe.c \
	src/worker/serve_message.c \
	src/worker/serve_officer.c \
	src/worker/serve_request.c \
	src/worker/serve_start.c
libkek_serve_a_CFLAGS = $(AM_CFLAGS) $(PROTOBUF_C_CFLAGS)

SERVE_LIBS = libkek-serve.a libkek-proto.a libkek-base.a $(PROTOBUF_C_LIBS) $(OPENSSL_LIBS) -lpthread

if HAVE_CHECK
noinst_HEADERS += tests/unit/serve_rig.h
SERVE_TESTS = tests/unit/test_serve tests/unit/test_serve_officer tests/unit/test_serve_start
check_PROGRAMS += $(SERVE_TESTS)
TESTS += $(SERVE_TESTS)
SERVE_TEST_CFLAGS = $(UNIT_CFLAGS) $(PROTOBUF_C_CFLAGS) -I$(top_srcdir)/src/worker
SERVE_TEST_LIBS = $(SERVE_LIBS) $(UNIT_LIBS)
tests_unit_test_serve_SOURCES = tests/unit/test_serve.c tests/unit/serve_rig.c
tests_unit_test_serve_CFLAGS = $(SERVE_TEST_CFLAGS)
tests_unit_test_serve_LDADD = $(SERVE_TEST_LIBS)
tests_unit_test_serve_officer_SOURCES = tests/unit/test_serve_officer.c tests/unit/serve_rig.c
tests_unit_test_serve_officer_CFLAGS = $(SERVE_TEST_CFLAGS)
tests_unit_test_serve_officer_LDADD = $(SERVE_TEST_LIBS)
tests_unit_test_serve_start_SOURCES = tests/unit/test_serve_start.c tests/unit/serve_rig.c
tests_unit_test_serve_start_CFLAGS = $(SERVE_TEST_CFLAGS)
tests_unit_test_serve_start_LDADD = $(SERVE_TEST_LIBS)
endif
