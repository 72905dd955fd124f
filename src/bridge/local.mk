# What the workers of services on the network share. `./configure --disable-bridge` leaves it and them out.
if BRIDGE
noinst_LIBRARIES += libkek-bridge.a
libkek_bridge_a_SOURCES = \
	src/bridge/ask.c \
	src/bridge/fail.c \
	src/bridge/file.c \
	src/bridge/hello.c \
	src/bridge/names.c \
	src/bridge/token.c
libkek_bridge_a_CFLAGS = $(AM_CFLAGS) $(PROTOBUF_C_CFLAGS) $(JANSSON_CFLAGS)

BRIDGE_LIBS = libkek-bridge.a $(REMOTE_LIBS) $(SERVE_LIBS) $(JANSSON_LIBS)

if HAVE_CHECK
check_PROGRAMS += tests/unit/test_bridge
TESTS += tests/unit/test_bridge
tests_unit_test_bridge_CFLAGS = $(UNIT_CFLAGS) $(PROTOBUF_C_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_bridge_LDADD = $(BRIDGE_LIBS) $(UNIT_LIBS)
endif
endif
