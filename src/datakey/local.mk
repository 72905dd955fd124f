noinst_LIBRARIES += libkek-datakey.a
libkek_datakey_a_SOURCES = \
	src/datakey/cache.c \
	src/datakey/damaged.c \
	src/datakey/flight.c \
	src/datakey/landing.c \
	src/datakey/opening.c \
	src/datakey/opening_all.c \
	src/datakey/opening_any.c \
	src/datakey/proof.c \
	src/datakey/ref.c \
	src/datakey/sealing.c \
	src/datakey/store.c \
	src/datakey/unwrap.c \
	src/datakey/opening.h \
	src/datakey/store.h
libkek_datakey_a_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
