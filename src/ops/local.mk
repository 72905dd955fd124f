noinst_LIBRARIES += libkek-ops.a
libkek_ops_a_SOURCES = \
	src/ops/audit.c \
	src/ops/audit_act.c \
	src/ops/audit_beside.c \
	src/ops/audit_events.c \
	src/ops/audit_file.c \
	src/ops/audit_file.h \
	src/ops/audit_find.c \
	src/ops/audit_find.h \
	src/ops/audit_head.c \
	src/ops/audit_head.h \
	src/ops/audit_home.c \
	src/ops/audit_home.h \
	src/ops/audit_line.c \
	src/ops/audit_line.h \
	src/ops/audit_link.c \
	src/ops/audit_log.h \
	src/ops/audit_note.c \
	src/ops/audit_note.h \
	src/ops/audit_receiver.c \
	src/ops/audit_receiver.h \
	src/ops/audit_store.c \
	src/ops/audit_store.h \
	src/ops/audit_tail.c \
	src/ops/audit_tail.h \
	src/ops/audit_text.c \
	src/ops/audit_text.h \
	src/ops/audit_write.c \
	src/ops/audit_write.h \
	src/ops/certificate.c \
	src/ops/exposition.c \
	src/ops/exposition.h \
	src/ops/http.c \
	src/ops/http.h \
	src/ops/http_connection.c \
	src/ops/http_connection.h \
	src/ops/http_head.c \
	src/ops/http_parse.c \
	src/ops/listen.c \
	src/ops/metrics.c \
	src/ops/metrics_calls.c \
	src/ops/metrics_calls.h \
	src/ops/metrics_render.c \
	src/ops/node_page.h \
	src/ops/node_render.c \
	src/ops/node_status.c \
	src/ops/notify.c \
	src/ops/sandbox.c \
	src/ops/tls.c \
	src/ops/tls.h \
	src/ops/tls_files.c \
	src/ops/tls_files.h

if HAVE_CHECK
# Some of this room's sources ask other rooms: the tests of those link them.
OPS_ROOMS = libkek-ops.a $(SSL_LIBS) libkek-kms.a libkek-datakey.a libkek-roots.a libkek-keyring.a $(POOL_LIBS) $(CONFIG_LIBS) \
	$(ENVELOPE_LIBS) $(JANSSON_LIBS) $(UNIT_LIBS)
OPS_TESTS = \
	tests/unit/test_audit \
	tests/unit/test_audit_act \
	tests/unit/test_audit_file \
	tests/unit/test_audit_find \
	tests/unit/test_audit_head \
	tests/unit/test_audit_receiver \
	tests/unit/test_audit_sink \
	tests/unit/test_audit_store \
	tests/unit/test_http \
	tests/unit/test_listen \
	tests/unit/test_metrics \
	tests/unit/test_metrics_pages \
	tests/unit/test_notify \
	tests/unit/test_sandbox \
	tests/unit/test_tls
check_PROGRAMS += $(OPS_TESTS)
TESTS += $(OPS_TESTS)
noinst_HEADERS += tests/unit/audit_help.h tests/unit/audit_listener.h tests/unit/audit_store_help.h tests/unit/certificate.h tests/unit/http_client.h tests/unit/man_items.h tests/unit/ops_folder.h
OPS_TEST_LIBS = libkek-ops.a $(SSL_LIBS) $(BASE_LIBS) $(UNIT_LIBS)
tests_unit_test_audit_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)
tests_unit_test_audit_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_audit_LDADD = $(OPS_ROOMS)
tests_unit_test_audit_act_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)
tests_unit_test_audit_act_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_audit_act_LDADD = $(OPS_ROOMS)
tests_unit_test_audit_file_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)
tests_unit_test_audit_file_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_audit_file_LDADD = $(OPS_ROOMS)
tests_unit_test_audit_find_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir) -I$(top_srcdir)/src/ops
tests_unit_test_audit_find_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_audit_find_LDADD = $(OPS_ROOMS)
tests_unit_test_audit_head_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir) -I$(top_srcdir)/src/ops
tests_unit_test_audit_head_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_audit_head_LDADD = $(OPS_ROOMS)
tests_unit_test_audit_receiver_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir) -I$(top_srcdir)/src/ops
tests_unit_test_audit_receiver_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_audit_receiver_LDADD = $(OPS_ROOMS)
tests_unit_test_audit_sink_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir) -I$(top_srcdir)/src/ops
tests_unit_test_audit_sink_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_audit_sink_LDADD = $(OPS_ROOMS)
tests_unit_test_audit_store_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir) -I$(top_srcdir)/src/ops
tests_unit_test_audit_store_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_audit_store_LDADD = $(OPS_ROOMS)
tests_unit_test_listen_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_listen_LDADD = $(OPS_TEST_LIBS)
tests_unit_test_http_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)
tests_unit_test_http_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_http_LDADD = $(OPS_TEST_LIBS)
tests_unit_test_metrics_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)
tests_unit_test_metrics_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_metrics_LDADD = $(OPS_ROOMS)
tests_unit_test_metrics_pages_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_metrics_pages_LDADD = $(OPS_ROOMS)
tests_unit_test_notify_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_notify_LDADD = $(OPS_TEST_LIBS)
tests_unit_test_tls_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)
tests_unit_test_tls_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_tls_LDADD = $(OPS_TEST_LIBS)
tests_unit_test_sandbox_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_sandbox_LDADD = $(OPS_TEST_LIBS)
endif

dist_man_MANS += docs/kekd-audit.5 docs/kekd-metrics.7
