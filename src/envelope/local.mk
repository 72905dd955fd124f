noinst_LIBRARIES += libkek-envelope.a
libkek_envelope_a_SOURCES = \
	src/envelope/format.c \
	src/envelope/format.h
ENVELOPE_LIBS = libkek-envelope.a $(BASE_LIBS)
