noinst_LIBRARIES += libkek-datakey.a
libkek_datakey_a_SOURCES = \
	src/datakey/cache.c \
	src/datakey/damaged.c \
	src/datakey/flight.c \
	src/datakey/opening.c \
	src/datakey/proof.c \
	src/datakey/ref.c \
	src/datakey/sealing.c \
	src/datakey/store.c \
	src/datakey/store.h
libkek_datakey_a_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
