noinst_LIBRARIES += libkek-etcd.a
libkek_etcd_a_SOURCES = \
	src/etcd/client.c \
	src/etcd/client.h \
	src/etcd/etcd.c \
	src/etcd/guard.c \
	src/etcd/guard.h \
	src/etcd/message.c \
	src/etcd/message.h \
	src/etcd/range.c \
	src/etcd/range.h \
	src/etcd/read.c \
	src/etcd/rpc.c \
	src/etcd/rpc.h \
	src/etcd/snapshot.c \
	src/etcd/stream.c \
	src/etcd/stream.h

ETCD_LIBS = libkek-etcd.a $(REMOTE_LIBS)

if HAVE_CHECK
check_PROGRAMS += tests/unit/test_etcd
TESTS += tests/unit/test_etcd
tests_unit_test_etcd_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
tests_unit_test_etcd_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_etcd_LDADD = $(ETCD_LIBS) $(BASE_LIBS) $(UNIT_LIBS)
endif
