# The worker. Everything but main() is an archive, so that its tests link with it.
noinst_LIBRARIES += libkek-pkcs11.a
libkek_pkcs11_a_SOURCES = \
	src/pkcs11/calls.c \
	src/pkcs11/calls.h \
	src/pkcs11/errors.c \
	src/pkcs11/errors.h \
	src/pkcs11/keys.c \
	src/pkcs11/keys.h \
	src/pkcs11/login.c \
	src/pkcs11/module.c \
	src/pkcs11/officer.c \
	src/pkcs11/p11.h \
	src/pkcs11/pin.c \
	src/pkcs11/pin.h \
	src/pkcs11/probe.c \
	src/pkcs11/scan.c \
	src/pkcs11/session.c \
	src/pkcs11/uri.c \
	src/pkcs11/uri.h \
	src/pkcs11/wrap.c
libkek_pkcs11_a_CFLAGS = $(AM_CFLAGS) $(PROTOBUF_C_CFLAGS) $(P11_KIT_CFLAGS)

# No libuv: a worker blocks.
PKCS11_LIBS = libkek-pkcs11.a $(SERVE_LIBS) $(P11_KIT_LIBS)

pkglibexec_PROGRAMS += kekd-pkcs11
kekd_pkcs11_SOURCES = src/pkcs11/main.c
kekd_pkcs11_CFLAGS = $(libkek_pkcs11_a_CFLAGS)
kekd_pkcs11_LDADD = $(PKCS11_LIBS)
