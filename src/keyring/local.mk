noinst_LIBRARIES += libkek-keyring.a
libkek_keyring_a_SOURCES = \
	src/keyring/health.c \
	src/keyring/keyring.c \
	src/keyring/record.c \
	src/keyring/ring.h \
	src/keyring/witness.c
libkek_keyring_a_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src $(JANSSON_CFLAGS)
