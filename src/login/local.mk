# Turns at a token's login, and what is remembered of the tries.
noinst_LIBRARIES += libkek-login.a
noinst_HEADERS += src/login/record.h
libkek_login_a_SOURCES = \
	src/login/login.c \
	src/login/name.c \
	src/login/record.c \
	src/login/retry.c
libkek_login_a_CFLAGS = $(AM_CFLAGS) $(PROTOBUF_C_CFLAGS) $(JANSSON_CFLAGS)
