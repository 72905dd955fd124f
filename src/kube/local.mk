noinst_LIBRARIES += libkek-kube.a
libkek_kube_a_SOURCES = \
	src/kube/encryption_config.c \
	src/kube/encryption_list.c \
	src/kube/encryption_list.h \
	src/kube/encryption_phase.c \
	src/kube/encryption_provider.c \
	src/kube/encryption_read.c \
	src/kube/encryption_read.h \
	src/kube/encryption_reads.c \
	src/kube/encryption_rules.c \
	src/kube/encryption_rules.h \
	src/kube/encryption_write.c \
	src/kube/name.c \
	src/kube/object.c \
	src/kube/object.h \
	src/kube/open.c \
	src/kube/places.c \
	src/kube/places.h \
	src/kube/secretbox.c \
	src/kube/secretbox.h \
	src/kube/split.c \
	src/kube/split.h \
	src/kube/stored.c
KUBE_LIBS = libkek-kube.a $(ENVELOPE_LIBS) $(YAML_LIBS)

if HAVE_CHECK
KUBE_TESTS = \
	tests/unit/test_encryption_config \
	tests/unit/test_encryption_phase \
	tests/unit/test_kube_golden \
	tests/unit/test_kube_name \
	tests/unit/test_kube_object \
	tests/unit/test_kube_open \
	tests/unit/test_kube_stored
check_PROGRAMS += $(KUBE_TESTS)
TESTS += $(KUBE_TESTS)
noinst_HEADERS += tests/unit/kube_help.h
tests_unit_test_encryption_config_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_encryption_config_LDADD = $(KUBE_LIBS) $(UNIT_LIBS)
tests_unit_test_encryption_phase_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_encryption_phase_LDADD = $(KUBE_LIBS) $(UNIT_LIBS)
tests_unit_test_kube_golden_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_kube_golden_LDADD = $(KUBE_LIBS) $(UNIT_LIBS)
tests_unit_test_kube_name_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_kube_name_LDADD = $(KUBE_LIBS) $(UNIT_LIBS)
tests_unit_test_kube_object_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_kube_object_LDADD = $(KUBE_LIBS) $(UNIT_LIBS)
tests_unit_test_kube_open_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_kube_open_LDADD = $(KUBE_LIBS) $(UNIT_LIBS)
tests_unit_test_kube_stored_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_kube_stored_LDADD = $(KUBE_LIBS) $(UNIT_LIBS)
endif
