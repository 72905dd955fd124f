noinst_LIBRARIES += libkek-keyring.a
libkek_keyring_a_SOURCES = \
	src/keyring/health.c \
	src/keyring/keyring.c \
	src/keyring/look.c \
	src/keyring/record.c \
	src/keyring/ring.h \
	src/keyring/uses.c \
	src/keyring/witness.c
libkek_keyring_a_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src $(JANSSON_CFLAGS)

if HAVE_CHECK
# All drive the rooms up to kms over a real worker.
RIG_SOURCES = tests/unit/rig.c tests/unit/rig.h
RIG_LIBS = libkek-kms.a libkek-datakey.a libkek-keyring.a $(POOL_LIBS) $(ENVELOPE_LIBS) \
	$(CONFIG_LIBS) $(JANSSON_LIBS) $(UNIT_LIBS)
KEYRING_TESTS = tests/unit/test_datakey tests/unit/test_keyring tests/unit/test_kms
check_PROGRAMS += $(KEYRING_TESTS)
TESTS += $(KEYRING_TESTS)
tests_unit_test_datakey_SOURCES = tests/unit/test_datakey.c $(RIG_SOURCES)
tests_unit_test_datakey_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_datakey_LDADD = $(RIG_LIBS)
tests_unit_test_keyring_SOURCES = tests/unit/test_keyring.c $(RIG_SOURCES)
tests_unit_test_keyring_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_keyring_LDADD = $(RIG_LIBS)
tests_unit_test_kms_SOURCES = tests/unit/test_kms.c $(RIG_SOURCES)
tests_unit_test_kms_CFLAGS = $(UNIT_CFLAGS) $(PROTOBUF_C_CFLAGS)
tests_unit_test_kms_LDADD = $(RIG_LIBS)
tests_unit_test_kms_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=calloc
endif
