noinst_LIBRARIES += libkek-kubeapi.a
libkek_kubeapi_a_SOURCES = \
	src/kubeapi/answer.c \
	src/kubeapi/api.c \
	src/kubeapi/api.h \
	src/kubeapi/discovery.c \
	src/kubeapi/kubeconfig.c \
	src/kubeapi/kubeconfig.h \
	src/kubeapi/kubeconfig_cluster.c \
	src/kubeapi/kubeconfig_user.c \
	src/kubeapi/objects.c \
	src/kubeapi/objects.h \
	src/kubeapi/reading.c \
	src/kubeapi/requests.c \
	src/kubeapi/scan.c \
	src/kubeapi/scan.h \
	src/kubeapi/values.c \
	src/kubeapi/values.h
libkek_kubeapi_a_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)

KUBEAPI_LIBS = libkek-kubeapi.a $(REMOTE_LIBS) $(JANSSON_LIBS) $(BASE_LIBS) $(YAML_LIBS)

if HAVE_CHECK
KUBEAPI_TESTS = tests/unit/test_kubeapi tests/unit/test_kubeconfig
check_PROGRAMS += $(KUBEAPI_TESTS)
TESTS += $(KUBEAPI_TESTS)
tests_unit_test_kubeapi_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)
tests_unit_test_kubeapi_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_kubeapi_LDADD = $(KUBEAPI_LIBS) $(UNIT_LIBS)
tests_unit_test_kubeconfig_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_kubeconfig_LDADD = $(KUBEAPI_LIBS) $(UNIT_LIBS)
endif
