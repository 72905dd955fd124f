sbin_PROGRAMS += kekd
kekd_SOURCES = \
	src/kekd/claim.c \
	src/kekd/claim.h \
	src/kekd/daemon.c \
	src/kekd/daemon.h \
	src/kekd/macs.c \
	src/kekd/macs.h \
	src/kekd/main.c \
	src/kekd/reap.c \
	src/kekd/reap.h \
	src/kekd/rooms.h \
	src/kekd/socket_watch.c \
	src/kekd/socket_watch.h \
	src/kekd/tell.c \
	src/kekd/warnings.c \
	src/kekd/warnings.h
kekd_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
kekd_LDADD = \
	libkek-ops.a $(SSL_LIBS) \
	libkek-grpc.a \
	libkek-kms.a \
	libkek-datakey.a \
	libkek-roots.a \
	libkek-keyring.a \
	libkek-pool.a \
	libkek-login.a \
	libkek-config.a \
	libkek-envelope.a \
	libkek-proto.a \
	$(BASE_LIBS) $(NGHTTP2_LIBS) $(PROTOBUF_C_LIBS) $(YAML_LIBS) $(JANSSON_LIBS)
