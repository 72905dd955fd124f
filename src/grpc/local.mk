noinst_LIBRARIES += libkek-grpc.a
libkek_grpc_a_SOURCES = \
	src/grpc/call.c \
	src/grpc/call.h \
	src/grpc/conn.c \
	src/grpc/conn.h \
	src/grpc/deadlines.c \
	src/grpc/deadlines.h \
	src/grpc/flow.c \
	src/grpc/flow.h \
	src/grpc/headers.c \
	src/grpc/headers.h \
	src/grpc/host.c \
	src/grpc/input.c \
	src/grpc/message.c \
	src/grpc/message.h \
	src/grpc/output.c \
	src/grpc/parts.h \
	src/grpc/server.c \
	src/grpc/server.h \
	src/grpc/session.c \
	src/grpc/session.h
libkek_grpc_a_CFLAGS = $(AM_CFLAGS) $(NGHTTP2_CFLAGS)

GRPC_LIBS = libkek-grpc.a $(NGHTTP2_LIBS) $(BASE_LIBS)

if HAVE_CHECK
GRPC_TESTS = \
	tests/unit/test_grpc_drain \
	tests/unit/test_grpc_flow \
	tests/unit/test_grpc_headers \
	tests/unit/test_grpc_hostile \
	tests/unit/test_grpc_memory \
	tests/unit/test_grpc_server \
	tests/unit/test_grpc_session
GRPC_RIG = \
	tests/unit/grpc_peer.c \
	tests/unit/grpc_peer.h \
	tests/unit/grpc_rig.c \
	tests/unit/grpc_rig.h \
	tests/unit/grpc_site.h
check_PROGRAMS += $(GRPC_TESTS)
TESTS += $(GRPC_TESTS)
tests_unit_test_grpc_flow_SOURCES = tests/unit/test_grpc_flow.c $(GRPC_RIG)
tests_unit_test_grpc_flow_CFLAGS = $(UNIT_CFLAGS) $(NGHTTP2_CFLAGS)
tests_unit_test_grpc_flow_LDADD = $(GRPC_LIBS) $(UNIT_LIBS)
tests_unit_test_grpc_headers_CFLAGS = $(UNIT_CFLAGS) $(NGHTTP2_CFLAGS)
tests_unit_test_grpc_headers_LDADD = $(GRPC_LIBS) $(UNIT_LIBS)
tests_unit_test_grpc_hostile_SOURCES = tests/unit/test_grpc_hostile.c $(GRPC_RIG)
tests_unit_test_grpc_hostile_CFLAGS = $(UNIT_CFLAGS) $(NGHTTP2_CFLAGS)
tests_unit_test_grpc_hostile_LDADD = $(GRPC_LIBS) $(UNIT_LIBS)
tests_unit_test_grpc_memory_SOURCES = tests/unit/test_grpc_memory.c $(GRPC_RIG)
tests_unit_test_grpc_memory_CFLAGS = $(UNIT_CFLAGS) $(NGHTTP2_CFLAGS)
tests_unit_test_grpc_memory_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=malloc -Wl,--wrap=calloc \
	-Wl,--wrap=nghttp2_session_server_new2
tests_unit_test_grpc_memory_LDADD = $(GRPC_LIBS) $(UNIT_LIBS)
tests_unit_test_grpc_server_SOURCES = tests/unit/test_grpc_server.c $(GRPC_RIG)
tests_unit_test_grpc_server_CFLAGS = $(UNIT_CFLAGS) $(NGHTTP2_CFLAGS)
tests_unit_test_grpc_server_LDADD = $(GRPC_LIBS) $(UNIT_LIBS)
tests_unit_test_grpc_drain_SOURCES = tests/unit/test_grpc_drain.c $(GRPC_RIG)
tests_unit_test_grpc_drain_CFLAGS = $(UNIT_CFLAGS) $(NGHTTP2_CFLAGS)
tests_unit_test_grpc_drain_LDADD = $(GRPC_LIBS) $(UNIT_LIBS)
tests_unit_test_grpc_session_SOURCES = tests/unit/test_grpc_session.c $(GRPC_RIG)
tests_unit_test_grpc_session_CFLAGS = $(UNIT_CFLAGS) $(NGHTTP2_CFLAGS)
tests_unit_test_grpc_session_LDADD = $(GRPC_LIBS) $(UNIT_LIBS)
endif
