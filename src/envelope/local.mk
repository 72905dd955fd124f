noinst_LIBRARIES += libkek-envelope.a
libkek_envelope_a_SOURCES = \
	src/envelope/envelope.c \
	src/envelope/format.c \
	src/envelope/format.h \
	src/envelope/iv.c \
	src/envelope/iv.h \
	src/envelope/selftest.c \
	src/envelope/suite1.c \
	src/envelope/suite1.h
ENVELOPE_LIBS = libkek-envelope.a $(BASE_LIBS)

if HAVE_CHECK
ENVELOPE_TESTS = \
	tests/unit/test_envelope \
	tests/unit/test_envelope_format \
	tests/unit/test_envelope_iv \
	tests/unit/test_envelope_suite1
check_PROGRAMS += $(ENVELOPE_TESTS)
TESTS += $(ENVELOPE_TESTS)
noinst_HEADERS += tests/unit/envelope_help.h
tests_unit_test_envelope_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_envelope_LDADD = $(ENVELOPE_LIBS) $(UNIT_LIBS)
tests_unit_test_envelope_format_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_envelope_format_LDADD = $(ENVELOPE_LIBS) $(UNIT_LIBS)
tests_unit_test_envelope_iv_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_envelope_iv_LDADD = $(ENVELOPE_LIBS) $(UNIT_LIBS)
tests_unit_test_envelope_suite1_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_envelope_suite1_LDADD = $(ENVELOPE_LIBS) $(UNIT_LIBS)
endif
dist_check_SCRIPTS += tests/unit/test_envelope_vector.py
TESTS += tests/unit/test_envelope_vector.py
