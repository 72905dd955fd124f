bin_PROGRAMS += kekctl
kekctl_SOURCES = \
	src/kekctl/announced.c \
	src/kekctl/announced.h \
	src/kekctl/change_lock.c \
	src/kekctl/change_rules.c \
	src/kekctl/changes.c \
	src/kekctl/changes.h \
	src/kekctl/config_check.c \
	src/kekctl/config_example.c \
	src/kekctl/evidence.c \
	src/kekctl/evidence.h \
	src/kekctl/grpc_client.c \
	src/kekctl/grpc_client.h \
	src/kekctl/grpc_status.c \
	src/kekctl/grpc_status.h \
	src/kekctl/inventory.c \
	src/kekctl/inventory.h \
	src/kekctl/inventory_choose.c \
	src/kekctl/inventory_datakeys.c \
	src/kekctl/inventory_datakeys.h \
	src/kekctl/inventory_json.c \
	src/kekctl/inventory_judge.c \
	src/kekctl/inventory_keks.c \
	src/kekctl/inventory_keks.h \
	src/kekctl/inventory_open.c \
	src/kekctl/inventory_open.h \
	src/kekctl/inventory_read.c \
	src/kekctl/inventory_show.c \
	src/kekctl/inventory_state.c \
	src/kekctl/inventory_state.h \
	src/kekctl/inventory_tally.c \
	src/kekctl/inventory_tally.h \
	src/kekctl/inventory_wanted.c \
	src/kekctl/inventory_wanted.h \
	src/kekctl/kekctl.c \
	src/kekctl/kekctl.h \
	src/kekctl/key_adopt.c \
	src/kekctl/key_change.c \
	src/kekctl/key_findings.c \
	src/kekctl/key_findings.h \
	src/kekctl/key_generate.c \
	src/kekctl/key_list.c \
	src/kekctl/key_remarks.c \
	src/kekctl/key_remarks.h \
	src/kekctl/key_rotate.c \
	src/kekctl/key_views.c \
	src/kekctl/key_views.h \
	src/kekctl/keys.c \
	src/kekctl/keys.h \
	src/kekctl/kms.c \
	src/kekctl/kms.h \
	src/kekctl/kms_decrypt.c \
	src/kekctl/kms_encrypt.c \
	src/kekctl/kms_status.c \
	src/kekctl/kube_check.c \
	src/kekctl/kube_config.c \
	src/kekctl/kube_config.h \
	src/kekctl/kube_judge.c \
	src/kekctl/kube_judge.h \
	src/kekctl/kube_phases.c \
	src/kekctl/made.c \
	src/kekctl/made.h \
	src/kekctl/main.c \
	src/kekctl/node.c \
	src/kekctl/node_parse.c \
	src/kekctl/node_parse.h \
	src/kekctl/node_say.c \
	src/kekctl/node_self.c \
	src/kekctl/node_self.h \
	src/kekctl/node_ssh.c \
	src/kekctl/node_ssh.h \
	src/kekctl/node_view.c \
	src/kekctl/nodes.c \
	src/kekctl/nodes.h \
	src/kekctl/on_record.c \
	src/kekctl/on_record.h \
	src/kekctl/options.c \
	src/kekctl/options.h \
	src/kekctl/output.c \
	src/kekctl/output.h \
	src/kekctl/pin_retry.c \
	src/kekctl/probe.c \
	src/kekctl/probe_states.c \
	src/kekctl/probe_states.h \
	src/kekctl/probe_workers.c \
	src/kekctl/probe_workers.h \
	src/kekctl/reencrypt.c \
	src/kekctl/reencrypt.h \
	src/kekctl/reencrypt_etcd.c \
	src/kekctl/reencrypt_etcd.h \
	src/kekctl/reencrypt_guard.c \
	src/kekctl/reencrypt_guard.h \
	src/kekctl/reencrypt_judge.c \
	src/kekctl/reencrypt_list.c \
	src/kekctl/reencrypt_list.h \
	src/kekctl/reencrypt_migrate.c \
	src/kekctl/reencrypt_migrate.h \
	src/kekctl/reencrypt_pace.c \
	src/kekctl/reencrypt_pace.h \
	src/kekctl/reencrypt_record.c \
	src/kekctl/reencrypt_record.h \
	src/kekctl/reencrypt_run.c \
	src/kekctl/reencrypt_run.h \
	src/kekctl/reencrypt_show.c \
	src/kekctl/reencrypt_show.h \
	src/kekctl/reencrypt_tally.c \
	src/kekctl/rotate.h \
	src/kekctl/rotate_act.c \
	src/kekctl/rotate_facts.c \
	src/kekctl/rotate_show.c \
	src/kekctl/rotate_show.h \
	src/kekctl/rotation.c \
	src/kekctl/rotation.h \
	src/kekctl/rotation_check.c \
	src/kekctl/rotation_check.h \
	src/kekctl/rotation_file.c \
	src/kekctl/rotation_file.h \
	src/kekctl/rotation_target.c \
	src/kekctl/rotation_target.h \
	src/kekctl/rotation_words.c \
	src/kekctl/version_entry.c \
	src/kekctl/version_entry.h
kekctl_CFLAGS = $(AM_CFLAGS) $(NGHTTP2_CFLAGS) $(PROTOBUF_C_CFLAGS) $(SMARTCOLS_CFLAGS) $(JANSSON_CFLAGS)
kekctl_LDADD = libkek-kube.a libkek-etcd.a $(KUBEAPI_LIBS) libkek-ops.a libkek-keyring.a $(POOL_LIBS) libkek-proto.a $(ENVELOPE_LIBS) $(CONFIG_LIBS) $(NGHTTP2_LIBS) $(PROTOBUF_C_LIBS) $(SMARTCOLS_LIBS) \
	$(JANSSON_LIBS)
dist_man_MANS += docs/kekctl.1 docs/kekd-pkcs11.8 docs/kekd.8

if HAVE_CHECK
KEKCTL_TESTS = tests/unit/test_evidence tests/unit/test_inventory tests/unit/test_kekctl_grpc tests/unit/test_kube_judge tests/unit/test_node tests/unit/test_rotation tests/unit/test_rotation_file \
	tests/unit/test_reencrypt_parts tests/unit/test_rotation_model
check_PROGRAMS += $(KEKCTL_TESTS)
TESTS += $(KEKCTL_TESTS)
tests_unit_test_evidence_SOURCES = tests/unit/test_evidence.c src/kekctl/evidence.c src/kekctl/node_parse.c
tests_unit_test_evidence_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
tests_unit_test_evidence_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_evidence_LDADD = $(OPS_ROOMS)
tests_unit_test_kube_judge_SOURCES = tests/unit/test_kube_judge.c src/kekctl/kube_judge.c src/kekctl/inventory_tally.c
tests_unit_test_kube_judge_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
tests_unit_test_kube_judge_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_kube_judge_LDADD = libkek-keyring.a $(POOL_LIBS) $(KUBE_LIBS) $(CONFIG_LIBS) $(JANSSON_LIBS) $(UNIT_LIBS)
tests_unit_test_inventory_SOURCES = tests/unit/test_inventory.c src/kekctl/inventory_state.c src/kekctl/inventory_tally.c
tests_unit_test_inventory_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
tests_unit_test_inventory_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_inventory_LDADD = libkek-keyring.a $(POOL_LIBS) $(KUBE_LIBS) $(CONFIG_LIBS) $(JANSSON_LIBS) $(UNIT_LIBS)
tests_unit_test_kekctl_grpc_SOURCES = tests/unit/test_kekctl_grpc.c src/kekctl/grpc_client.c \
	src/kekctl/grpc_status.c
tests_unit_test_kekctl_grpc_CFLAGS = $(UNIT_CFLAGS) $(NGHTTP2_CFLAGS)
tests_unit_test_node_SOURCES = tests/unit/test_node.c src/kekctl/node_parse.c
tests_unit_test_node_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)
tests_unit_test_node_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_node_LDADD = $(OPS_ROOMS)
tests_unit_test_kekctl_grpc_LDADD = $(BASE_LIBS) $(NGHTTP2_LIBS) $(UNIT_LIBS) -lpthread
ROTATION_SOURCES = \
	src/kekctl/node_view.c \
	src/kekctl/rotation.c \
	src/kekctl/rotation_check.c \
	src/kekctl/rotation_target.c \
	src/kekctl/rotation_words.c \
	tests/unit/rotation_facts.h
ROTATION_LIBS = libkek-keyring.a $(POOL_LIBS) $(ENVELOPE_LIBS) $(CONFIG_LIBS) $(JANSSON_LIBS) $(UNIT_LIBS)
tests_unit_test_rotation_SOURCES = tests/unit/test_rotation.c $(ROTATION_SOURCES)
tests_unit_test_rotation_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
tests_unit_test_rotation_CFLAGS = $(UNIT_CFLAGS) $(PROTOBUF_C_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_rotation_LDADD = $(ROTATION_LIBS)
tests_unit_test_rotation_file_SOURCES = tests/unit/test_rotation_file.c src/kekctl/rotation_file.c $(ROTATION_SOURCES)
tests_unit_test_rotation_file_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
tests_unit_test_rotation_file_CFLAGS = $(UNIT_CFLAGS) $(PROTOBUF_C_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_rotation_file_LDADD = $(ROTATION_LIBS)
tests_unit_test_rotation_model_SOURCES = tests/unit/test_rotation_model.c $(ROTATION_SOURCES)
tests_unit_test_rotation_model_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
tests_unit_test_rotation_model_CFLAGS = $(UNIT_CFLAGS) $(PROTOBUF_C_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_rotation_model_LDADD = $(ROTATION_LIBS)
tests_unit_test_reencrypt_parts_SOURCES = \
	tests/unit/test_reencrypt_parts.c \
	src/kekctl/kekctl.c \
	src/kekctl/output.c \
	src/kekctl/reencrypt_judge.c \
	src/kekctl/reencrypt_pace.c \
	src/kekctl/reencrypt_show.c \
	src/kekctl/reencrypt_tally.c
tests_unit_test_reencrypt_parts_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)
tests_unit_test_reencrypt_parts_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS) $(SMARTCOLS_CFLAGS)
tests_unit_test_reencrypt_parts_LDADD = $(KUBEAPI_LIBS) libkek-keyring.a $(POOL_LIBS) $(ENVELOPE_LIBS) $(CONFIG_LIBS) \
	$(SMARTCOLS_LIBS) $(JANSSON_LIBS) $(UNIT_LIBS)
endif

kekctl_script_tests = tests/unit/test_kekctl.py tests/unit/test_kekctl_keys.py tests/unit/test_kekctl_changes.py \
	tests/unit/test_kekctl_kube.py tests/unit/test_reencrypt.py
EXTRA_DIST += tests/unit/kube_server.py
dist_check_SCRIPTS += $(kekctl_script_tests)
TESTS += $(kekctl_script_tests)
