noinst_LIBRARIES += libkek-remote.a
libkek_remote_a_SOURCES = \
	src/remote/answer.c \
	src/remote/remote.c \
	src/remote/setup.c \
	src/remote/transfer.h \
	src/remote/words.c
libkek_remote_a_CFLAGS = $(AM_CFLAGS) $(CURL_CFLAGS)

REMOTE_LIBS = libkek-remote.a $(CURL_LIBS)

if HAVE_CHECK
check_PROGRAMS += tests/unit/test_remote
TESTS += tests/unit/test_remote
tests_unit_test_remote_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_remote_LDADD = $(REMOTE_LIBS) $(BASE_LIBS) $(UNIT_LIBS) -lpthread
endif
