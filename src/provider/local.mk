# The worker's side: libkek-serve.a.
noinst_LIBRARIES += libkek-serve.a
libkek_serve_a_SOURCES = \
	src/provider/serve.c \
	src/provider/serve.h \
	src/provider/serve_message.c \
	src/provider/serve_request.c
libkek_serve_a_CFLAGS = $(AM_CFLAGS) $(PROTOBUF_C_CFLAGS)

SERVE_LIBS = libkek-serve.a libkek-proto.a libkek-base.a $(PROTOBUF_C_LIBS) $(OPENSSL_LIBS) -lpthread
