# The worker's side: libkek-serve.a.
noinst_LIBRARIES += libkek-serve.a
libkek_serve_a_SOURCES = \
	src/worker/serve.c \
	src/worker/serve.h \
	src/worker/serve_describe.c \
	src/worker/serve_message.c \
	src/worker/serve_request.c
libkek_serve_a_CFLAGS = $(AM_CFLAGS) $(PROTOBUF_C_CFLAGS)

SERVE_LIBS = libkek-serve.a libkek-proto.a libkek-base.a $(PROTOBUF_C_LIBS) $(OPENSSL_LIBS) -lpthread

if HAVE_CHECK
SERVE_TESTS = tests/unit/test_serve
check_PROGRAMS += $(SERVE_TESTS)
TESTS += $(SERVE_TESTS)
tests_unit_test_serve_CFLAGS = $(UNIT_CFLAGS) $(PROTOBUF_C_CFLAGS) -I$(top_srcdir)/src/worker
tests_unit_test_serve_LDADD = $(SERVE_LIBS) $(UNIT_LIBS)
endif
