noinst_LIBRARIES += libkek-config.a
libkek_config_a_SOURCES = \
	src/config/audit_place.c \
	src/config/etcd.c \
	src/config/example.c \
	src/config/file.c \
	src/config/gcpkms.c \
	src/config/lists.c \
	src/config/load.c \
	src/config/load.h \
	src/config/pkcs11.c \
	src/config/pkcs11_uri.c \
	src/config/root_list.c \
	src/config/root_list.h \
	src/config/rules.c \
	src/config/schema.c \
	src/config/schema.h \
	src/config/status.c \
	src/config/transit.c \
	src/config/values.c \
	src/config/versions.c

dist_man_MANS += docs/kekd.conf.5

CONFIG_LIBS = libkek-config.a $(BASE_LIBS) $(YAML_LIBS)

if HAVE_CHECK
CONFIG_TESTS = tests/unit/test_config tests/unit/test_config_accept tests/unit/test_config_docs \
	tests/unit/test_config_file tests/unit/test_config_uri
noinst_HEADERS += tests/unit/config_help.h
check_PROGRAMS += $(CONFIG_TESTS)
TESTS += $(CONFIG_TESTS)
tests_unit_test_config_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_config_LDADD = $(CONFIG_LIBS) $(UNIT_LIBS)
tests_unit_test_config_accept_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_config_accept_LDADD = $(CONFIG_LIBS) $(UNIT_LIBS)
tests_unit_test_config_docs_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_config_docs_LDADD = $(CONFIG_LIBS) $(UNIT_LIBS)
tests_unit_test_config_file_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_config_file_LDADD = $(CONFIG_LIBS) $(UNIT_LIBS)
tests_unit_test_config_uri_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_config_uri_LDADD = $(CONFIG_LIBS) $(UNIT_LIBS)
if BRIDGE
check_PROGRAMS += tests/unit/test_config_transit
TESTS += tests/unit/test_config_transit
tests_unit_test_config_transit_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_config_transit_LDADD = $(CONFIG_LIBS) $(UNIT_LIBS)
endif
endif
