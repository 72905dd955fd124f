bin_PROGRAMS += kekctl
kekctl_SOURCES = \
	src/kekctl/config_check.c \
	src/kekctl/config_example.c \
	src/kekctl/grpc_client.c \
	src/kekctl/grpc_client.h \
	src/kekctl/kekctl.h \
	src/kekctl/kms.c \
	src/kekctl/kms.h \
	src/kekctl/kms_decrypt.c \
	src/kekctl/kms_encrypt.c \
	src/kekctl/kms_status.c \
	src/kekctl/main.c \
	src/kekctl/output.c \
	src/kekctl/output.h
kekctl_CFLAGS = $(AM_CFLAGS) $(NGHTTP2_CFLAGS) $(PROTOBUF_C_CFLAGS) $(SMARTCOLS_CFLAGS) $(JANSSON_CFLAGS)
kekctl_LDADD = libkek-proto.a $(CONFIG_LIBS) $(NGHTTP2_LIBS) $(PROTOBUF_C_LIBS) $(SMARTCOLS_LIBS) \
	$(JANSSON_LIBS)

if HAVE_CHECK
KEKCTL_TESTS = tests/unit/test_kekctl_grpc
check_PROGRAMS += $(KEKCTL_TESTS)
TESTS += $(KEKCTL_TESTS)
tests_unit_test_kekctl_grpc_SOURCES = tests/unit/test_kekctl_grpc.c src/kekctl/grpc_client.c
tests_unit_test_kekctl_grpc_CFLAGS = $(UNIT_CFLAGS) $(NGHTTP2_CFLAGS)
tests_unit_test_kekctl_grpc_LDADD = $(BASE_LIBS) $(NGHTTP2_LIBS) $(UNIT_LIBS) -lpthread
endif

dist_check_SCRIPTS += tests/unit/test_kekctl.py
TESTS += tests/unit/test_kekctl.py
