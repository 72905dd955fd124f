if BRIDGE
pkglibexec_PROGRAMS += kekd-transit
kekd_transit_SOURCES = \
	src/transit/auth.c \
	src/transit/call.c \
	src/transit/crypt.c \
	src/transit/key.c \
	src/transit/main.c \
	src/transit/officer.c \
	src/transit/open.c \
	src/transit/probe.c \
	src/transit/prove.c \
	src/transit/session.c \
	src/transit/settings.c \
	src/transit/transit.h \
	src/transit/wrap.c
kekd_transit_CFLAGS = $(AM_CFLAGS) $(PROTOBUF_C_CFLAGS) $(JANSSON_CFLAGS)
kekd_transit_LDADD = $(BRIDGE_LIBS)
endif
