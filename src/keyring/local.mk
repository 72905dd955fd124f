noinst_LIBRARIES += libkek-keyring.a
libkek_keyring_a_SOURCES = \
	src/keyring/ageing.c \
	src/keyring/beside.c \
	src/keyring/canary.c \
	src/keyring/check.c \
	src/keyring/facts.c \
	src/keyring/generation.c \
	src/keyring/history.c \
	src/keyring/home.c \
	src/keyring/home.h \
	src/keyring/judge.c \
	src/keyring/keyring.c \
	src/keyring/lapse.c \
	src/keyring/lapse.h \
	src/keyring/look.c \
	src/keyring/moved.c \
	src/keyring/moved.h \
	src/keyring/obstacle.c \
	src/keyring/primary.c \
	src/keyring/protected.c \
	src/keyring/rank.c \
	src/keyring/record.c \
	src/keyring/remarks.c \
	src/keyring/ring.h \
	src/keyring/say.c \
	src/keyring/tokens.c \
	src/keyring/trip.c \
	src/keyring/use.c \
	src/keyring/verdict.c \
	src/keyring/versions.c \
	src/keyring/wait.c \
	src/keyring/witness.c
libkek_keyring_a_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src $(JANSSON_CFLAGS)

if HAVE_CHECK
# All drive the rooms up to kms over a real worker.
RIG_SOURCES = tests/unit/rig.c tests/unit/rig.h
RIG_LIBS = libkek-kms.a libkek-datakey.a libkek-roots.a libkek-keyring.a $(POOL_LIBS) $(ENVELOPE_LIBS) \
	$(CONFIG_LIBS) $(JANSSON_LIBS) $(UNIT_LIBS)
KEYRING_TESTS = \
	tests/unit/test_datakey \
	tests/unit/test_keyring \
	tests/unit/test_keyring_ageing \
	tests/unit/test_keyring_canary \
	tests/unit/test_keyring_held \
	tests/unit/test_keyring_home \
	tests/unit/test_keyring_lapse \
	tests/unit/test_keyring_moved \
	tests/unit/test_keyring_tokens \
	tests/unit/test_keyring_turn \
	tests/unit/test_keyring_workers \
	tests/unit/test_kms \
	tests/unit/test_kms_state \
	tests/unit/test_roots
check_PROGRAMS += $(KEYRING_TESTS)
TESTS += $(KEYRING_TESTS)
tests_unit_test_datakey_SOURCES = tests/unit/test_datakey.c $(RIG_SOURCES)
tests_unit_test_datakey_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_datakey_LDADD = $(RIG_LIBS)
tests_unit_test_keyring_SOURCES = tests/unit/test_keyring.c $(RIG_SOURCES)
tests_unit_test_keyring_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_keyring_LDADD = $(RIG_LIBS)
tests_unit_test_keyring_canary_SOURCES = tests/unit/test_keyring_canary.c tests/unit/pool_rig.c
tests_unit_test_keyring_canary_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
tests_unit_test_keyring_canary_CFLAGS = $(UNIT_CFLAGS) $(PROTOBUF_C_CFLAGS)
tests_unit_test_keyring_canary_LDADD = $(RIG_LIBS)
tests_unit_test_keyring_canary_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=kek_pool_idle \
	-Wl,--wrap=kek_pool_starts
tests_unit_test_keyring_ageing_SOURCES = tests/unit/test_keyring_ageing.c tests/unit/keyring_turn.h tests/unit/pool_rig.c
tests_unit_test_keyring_ageing_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
tests_unit_test_keyring_ageing_CFLAGS = $(UNIT_CFLAGS) $(PROTOBUF_C_CFLAGS)
tests_unit_test_keyring_ageing_LDADD = $(RIG_LIBS)
tests_unit_test_keyring_home_SOURCES = tests/unit/test_keyring_home.c tests/unit/keyring_turn.h tests/unit/pool_rig.c
tests_unit_test_keyring_home_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
tests_unit_test_keyring_home_CFLAGS = $(UNIT_CFLAGS) $(PROTOBUF_C_CFLAGS)
tests_unit_test_keyring_home_LDADD = $(RIG_LIBS)
tests_unit_test_keyring_lapse_SOURCES = tests/unit/test_keyring_lapse.c tests/unit/keyring_turn.h tests/unit/pool_rig.c
tests_unit_test_keyring_lapse_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
tests_unit_test_keyring_lapse_CFLAGS = $(UNIT_CFLAGS) $(PROTOBUF_C_CFLAGS)
tests_unit_test_keyring_lapse_LDADD = $(RIG_LIBS)
tests_unit_test_keyring_moved_SOURCES = tests/unit/test_keyring_moved.c
tests_unit_test_keyring_moved_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
tests_unit_test_keyring_moved_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_keyring_moved_LDADD = libkek-keyring.a $(CONFIG_LIBS) $(JANSSON_LIBS) $(UNIT_LIBS)
tests_unit_test_keyring_tokens_SOURCES = tests/unit/test_keyring_tokens.c tests/unit/keyring_turn.h tests/unit/pool_rig.c
tests_unit_test_keyring_tokens_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
tests_unit_test_keyring_tokens_CFLAGS = $(UNIT_CFLAGS) $(PROTOBUF_C_CFLAGS)
tests_unit_test_keyring_tokens_LDADD = $(RIG_LIBS)
tests_unit_test_keyring_turn_SOURCES = tests/unit/test_keyring_turn.c tests/unit/keyring_turn.h tests/unit/pool_rig.c
tests_unit_test_keyring_turn_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
tests_unit_test_keyring_turn_CFLAGS = $(UNIT_CFLAGS) $(PROTOBUF_C_CFLAGS)
tests_unit_test_keyring_turn_LDADD = $(RIG_LIBS)
tests_unit_test_keyring_workers_SOURCES = tests/unit/test_keyring_workers.c tests/unit/keyring_workers.h tests/unit/pool_rig.c
tests_unit_test_keyring_workers_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
tests_unit_test_keyring_workers_CFLAGS = $(UNIT_CFLAGS) $(PROTOBUF_C_CFLAGS)
tests_unit_test_keyring_workers_LDADD = $(RIG_LIBS)
tests_unit_test_keyring_held_SOURCES = tests/unit/test_keyring_held.c tests/unit/keyring_workers.h tests/unit/pool_rig.c
tests_unit_test_keyring_held_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
tests_unit_test_keyring_held_CFLAGS = $(UNIT_CFLAGS) $(PROTOBUF_C_CFLAGS)
tests_unit_test_keyring_held_LDADD = $(RIG_LIBS)
tests_unit_test_roots_SOURCES = tests/unit/test_roots.c tests/unit/keyring_turn.h tests/unit/pool_rig.c
tests_unit_test_roots_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
tests_unit_test_roots_CFLAGS = $(UNIT_CFLAGS) $(PROTOBUF_C_CFLAGS)
tests_unit_test_roots_LDADD = $(RIG_LIBS)
tests_unit_test_kms_SOURCES = tests/unit/test_kms.c tests/unit/kms_help.h $(RIG_SOURCES)
tests_unit_test_kms_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
tests_unit_test_kms_CFLAGS = $(UNIT_CFLAGS) $(PROTOBUF_C_CFLAGS)
tests_unit_test_kms_LDADD = $(RIG_LIBS)
tests_unit_test_kms_state_SOURCES = tests/unit/test_kms_state.c tests/unit/kms_help.h $(RIG_SOURCES)
tests_unit_test_kms_state_CFLAGS = $(UNIT_CFLAGS) $(PROTOBUF_C_CFLAGS)
tests_unit_test_kms_state_LDADD = $(RIG_LIBS)
tests_unit_test_kms_state_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=malloc
endif
