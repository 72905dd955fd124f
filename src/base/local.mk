noinst_LIBRARIES += libkek-base.a
libkek_base_a_SOURCES = \
	src/base/arena.c \
	src/base/base64.c \
	src/base/bytes.c \
	src/base/clock.c \
	src/base/descriptors.c \
	src/base/digest.c \
	src/base/doc.c \
	src/base/durable.c \
	src/base/histogram.c \
	src/base/json.c \
	src/base/kek.c \
	src/base/lock_file.c \
	src/base/log.c \
	src/base/log_line.c \
	src/base/log_line.h \
	src/base/log_often.c \
	src/base/protobuf.c \
	src/base/rc.c \
	src/base/secret.c \
	src/base/small_file.c \
	src/base/text.c \
	src/base/vendor.c \
	src/base/version.c \
	src/base/wire.c
libkek_base_a_CFLAGS = $(AM_CFLAGS) $(PROTOBUF_C_CFLAGS) $(JANSSON_CFLAGS) $(YAML_CFLAGS)

if HAVE_CHECK
UNIT_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
UNIT_LIBS = $(CHECK_LIBS)

noinst_HEADERS += tests/unit/suite.h tests/unit/apart.h
BASE_TESTS = tests/unit/test_base tests/unit/test_durable tests/unit/test_durable_write tests/unit/test_json tests/unit/test_lock_file tests/unit/test_log tests/unit/test_protobuf \
	tests/unit/test_small_file tests/unit/test_text tests/unit/test_version
check_PROGRAMS += $(BASE_TESTS)
TESTS += $(BASE_TESTS)
tests_unit_test_base_CFLAGS = $(UNIT_CFLAGS) $(PROTOBUF_C_CFLAGS)
tests_unit_test_base_LDADD = $(BASE_LIBS) libkek-proto.a $(PROTOBUF_C_LIBS) $(UNIT_LIBS)
tests_unit_test_durable_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_durable_LDADD = $(BASE_LIBS) $(UNIT_LIBS)
tests_unit_test_durable_write_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_durable_write_LDADD = $(BASE_LIBS) $(UNIT_LIBS)
tests_unit_test_json_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_json_LDADD = $(BASE_LIBS) $(UNIT_LIBS) $(JANSSON_LIBS)
tests_unit_test_lock_file_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_text_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_text_LDADD = $(BASE_LIBS) $(UNIT_LIBS)
tests_unit_test_lock_file_LDADD = $(BASE_LIBS) $(UNIT_LIBS)
tests_unit_test_log_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_log_LDADD = $(BASE_LIBS) $(UNIT_LIBS) $(JANSSON_LIBS)
tests_unit_test_protobuf_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_protobuf_LDADD = $(BASE_LIBS) $(UNIT_LIBS)
tests_unit_test_small_file_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_small_file_LDADD = $(BASE_LIBS) $(UNIT_LIBS)
tests_unit_test_version_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_version_LDADD = $(BASE_LIBS) $(UNIT_LIBS)
endif
