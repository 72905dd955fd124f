noinst_LIBRARIES += libkek-roots.a
libkek_roots_a_SOURCES = \
	src/roots/form.c \
	src/roots/join.c \
	src/roots/join.h \
	src/roots/root_rules.c \
	src/roots/roots.c \
	src/roots/say.c \
	src/roots/twins.c \
	src/roots/wait.c
libkek_roots_a_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src

if HAVE_CHECK
check_PROGRAMS += tests/unit/test_root_rules
TESTS += tests/unit/test_root_rules
tests_unit_test_root_rules_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_root_rules_LDADD = libkek-roots.a $(ENVELOPE_LIBS) $(UNIT_LIBS)
endif
