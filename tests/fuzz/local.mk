# Fuzz targets. A new one needs tests/fuzz/fuzz_X.c, seeds in tests/fuzz/seeds/X/ and two lines here:
#   FUZZ_TARGETS += tests/fuzz/fuzz_X
#   tests_fuzz_fuzz_X_LDADD = $(FUZZ_LIBS) libkek-ROOM.a ... $(BASE_LIBS)
EXTRA_DIST += tests/fuzz/README.md tests/fuzz/seeds
noinst_HEADERS += tests/fuzz/fuzz.h
check_LIBRARIES =
FUZZ_TARGETS =

FUZZ_TARGETS += tests/fuzz/fuzz_envelope
tests_fuzz_fuzz_envelope_LDADD = $(FUZZ_LIBS) $(ENVELOPE_LIBS)
FUZZ_TARGETS += tests/fuzz/fuzz_config tests/fuzz/fuzz_uri
tests_fuzz_fuzz_config_LDADD = $(FUZZ_LIBS) $(CONFIG_LIBS)
tests_fuzz_fuzz_uri_LDADD = $(FUZZ_LIBS) $(CONFIG_LIBS)

FUZZ_TARGETS += tests/fuzz/fuzz_encryption
tests_fuzz_fuzz_encryption_LDADD = $(FUZZ_LIBS) $(KUBE_LIBS)

FUZZ_TARGETS += tests/fuzz/fuzz_http
tests_fuzz_fuzz_http_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)
tests_fuzz_fuzz_http_LDADD = $(FUZZ_LIBS) libkek-ops.a $(BASE_LIBS)

FUZZ_TARGETS += tests/fuzz/fuzz_kms
tests_fuzz_fuzz_kms_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
tests_fuzz_fuzz_kms_LDADD = $(FUZZ_LIBS) libkek-kms.a libkek-envelope.a libkek-proto.a $(BASE_LIBS) \
	$(PROTOBUF_C_LIBS)

FUZZ_TARGETS += tests/fuzz/fuzz_kube
tests_fuzz_fuzz_kube_LDADD = $(FUZZ_LIBS) $(KUBE_LIBS)

FUZZ_TARGETS += tests/fuzz/fuzz_provider
tests_fuzz_fuzz_provider_CFLAGS = $(AM_CFLAGS) $(PROTOBUF_C_CFLAGS)
tests_fuzz_fuzz_provider_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src/worker
tests_fuzz_fuzz_provider_LDADD = $(FUZZ_LIBS) $(SERVE_LIBS)

FUZZ_TARGETS += tests/fuzz/fuzz_reply
tests_fuzz_fuzz_reply_CFLAGS = $(AM_CFLAGS) $(PROTOBUF_C_CFLAGS)
tests_fuzz_fuzz_reply_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src/pool
tests_fuzz_fuzz_reply_LDADD = $(FUZZ_LIBS) $(POOL_LIBS) $(BASE_LIBS)

FUZZ_TARGETS += tests/fuzz/fuzz_grpc
tests_fuzz_fuzz_grpc_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)
tests_fuzz_fuzz_grpc_CFLAGS = $(AM_CFLAGS) $(NGHTTP2_CFLAGS)
tests_fuzz_fuzz_grpc_LDADD = $(FUZZ_LIBS) $(GRPC_LIBS)

FUZZ_TARGETS += tests/fuzz/fuzz_record
tests_fuzz_fuzz_record_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
tests_fuzz_fuzz_record_LDADD = $(FUZZ_LIBS) libkek-keyring.a $(POOL_LIBS) $(ENVELOPE_LIBS) $(CONFIG_LIBS) \
	$(JANSSON_LIBS)

FUZZ_TARGETS += tests/fuzz/fuzz_tls
tests_fuzz_fuzz_tls_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)
tests_fuzz_fuzz_tls_LDADD = $(FUZZ_LIBS) libkek-ops.a $(SSL_LIBS) $(BASE_LIBS)

FUZZ_TARGETS += tests/fuzz/fuzz_node
tests_fuzz_fuzz_node_SOURCES = tests/fuzz/fuzz_node.c src/kekctl/node/node_parse.c
tests_fuzz_fuzz_node_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
tests_fuzz_fuzz_node_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
tests_fuzz_fuzz_node_LDADD = $(FUZZ_LIBS) libkek-keyring.a $(POOL_LIBS) $(ENVELOPE_LIBS) $(CONFIG_LIBS) \
	$(JANSSON_LIBS)

FUZZ_TARGETS += tests/fuzz/fuzz_audit
tests_fuzz_fuzz_audit_SOURCES = tests/fuzz/fuzz_audit.c \
	src/kekctl/audit/check.c src/kekctl/audit/check_end.c src/kekctl/audit/pace.c src/kekctl/audit/telling.c
tests_fuzz_fuzz_audit_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
tests_fuzz_fuzz_audit_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
tests_fuzz_fuzz_audit_LDADD = $(FUZZ_LIBS) libkek-ops.a $(JANSSON_LIBS) $(BASE_LIBS)

FUZZ_TARGETS += tests/fuzz/fuzz_kubeconfig tests/fuzz/fuzz_kubeapi
tests_fuzz_fuzz_kubeconfig_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
tests_fuzz_fuzz_kubeconfig_LDADD = $(FUZZ_LIBS) $(KUBEAPI_LIBS)
tests_fuzz_fuzz_kubeapi_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)
tests_fuzz_fuzz_kubeapi_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
tests_fuzz_fuzz_kubeapi_LDADD = $(FUZZ_LIBS) $(KUBEAPI_LIBS)

FUZZ_TARGETS += tests/fuzz/fuzz_etcd
tests_fuzz_fuzz_etcd_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
tests_fuzz_fuzz_etcd_LDADD = $(FUZZ_LIBS) libkek-etcd.a $(BASE_LIBS)

FUZZ_TARGETS += tests/fuzz/fuzz_protobuf
tests_fuzz_fuzz_protobuf_LDADD = $(FUZZ_LIBS) $(BASE_LIBS)

if BRIDGE
FUZZ_TARGETS += tests/fuzz/fuzz_gcpkms tests/fuzz/fuzz_statement
tests_fuzz_fuzz_statement_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src/gcpkms
tests_fuzz_fuzz_statement_LDADD = $(FUZZ_LIBS) $(GCPKMS_LIBS)
tests_fuzz_fuzz_gcpkms_CFLAGS = $(AM_CFLAGS) $(PROTOBUF_C_CFLAGS) $(JANSSON_CFLAGS)
tests_fuzz_fuzz_gcpkms_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src/gcpkms
tests_fuzz_fuzz_gcpkms_LDADD = $(FUZZ_LIBS) $(GCPKMS_LIBS)
endif

check_PROGRAMS += $(FUZZ_TARGETS)
if FUZZING
FUZZ_LIBS = $(KEK_FUZZ_LDFLAGS)
FUZZ_SECONDS = 60

# Each target in turn; what it finds is left in fuzz-corpus/.
fuzz: all
	$(MAKE) $(AM_MAKEFLAGS) $(FUZZ_TARGETS)
	@for target in $(FUZZ_TARGETS); do \
	  name=$${target##*/fuzz_}; \
	  $(MKDIR_P) fuzz-corpus/$$name || exit 1; \
	  $$target -max_total_time=$(FUZZ_SECONDS) -timeout=5 -print_final_stats=1 \
	    -artifact_prefix=fuzz-corpus/crash-$$name- \
	    fuzz-corpus/$$name $(srcdir)/tests/fuzz/seeds/$$name || exit 1; \
	done
PHONY_TARGETS += fuzz
else
TESTS += $(FUZZ_TARGETS)
check_LIBRARIES += libkek-replay.a
libkek_replay_a_SOURCES = tests/fuzz/replay.c
FUZZ_LIBS = libkek-replay.a
endif
