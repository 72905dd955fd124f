bin_PROGRAMS += kekctl
kekctl_SOURCES = \
	src/kekctl/audit/audit_generate.c \
	src/kekctl/audit/audit_verify.c \
	src/kekctl/audit/chain_end.c \
	src/kekctl/audit/chain_end.h \
	src/kekctl/audit/check.c \
	src/kekctl/audit/check.h \
	src/kekctl/audit/check_end.c \
	src/kekctl/audit/check_parts.h \
	src/kekctl/audit/files.c \
	src/kekctl/audit/files.h \
	src/kekctl/audit/macs.c \
	src/kekctl/audit/macs.h \
	src/kekctl/audit/pace.c \
	src/kekctl/audit/pace.h \
	src/kekctl/audit/record_again.c \
	src/kekctl/audit/record_again.h \
	src/kekctl/audit/telling.c \
	src/kekctl/audit/telling.h \
	src/kekctl/audit/verify.c \
	src/kekctl/audit/verify.h \
	src/kekctl/key/announced.c \
	src/kekctl/key/announced.h \
	src/kekctl/key/backup.c \
	src/kekctl/key/backup.h \
	src/kekctl/key/backup_take.c \
	src/kekctl/key/change_lock.c \
	src/kekctl/key/change_rules.c \
	src/kekctl/key/changes.c \
	src/kekctl/key/changes.h \
	src/kekctl/command.h \
	src/kekctl/command_help.c \
	src/kekctl/command_words.c \
	src/kekctl/commands.c \
	src/kekctl/completion.c \
	src/kekctl/conformance/case_key.c \
	src/kekctl/conformance/case_load.c \
	src/kekctl/conformance/case_state.c \
	src/kekctl/conformance/case_wrap.c \
	src/kekctl/conformance/cases.c \
	src/kekctl/conformance/conformance.c \
	src/kekctl/conformance/junit.c \
	src/kekctl/conformance/junit.h \
	src/kekctl/conformance/last_run.c \
	src/kekctl/conformance/last_run.h \
	src/kekctl/rig/leftovers.c \
	src/kekctl/rig/leftovers.h \
	src/kekctl/conformance/load.c \
	src/kekctl/conformance/load.h \
	src/kekctl/conformance/suite.c \
	src/kekctl/conformance/suite.h \
	src/kekctl/conformance/suite_json.c \
	src/kekctl/conformance/suite_json.h \
	src/kekctl/conformance/suite_result.c \
	src/kekctl/conformance/suite_result.h \
	src/kekctl/conformance/suite_use.c \
	src/kekctl/completion.h \
	src/kekctl/config_check.c \
	src/kekctl/config_example.c \
	src/kekctl/inventory/evidence.c \
	src/kekctl/inventory/evidence.h \
	src/kekctl/destroy/destroy.c \
	src/kekctl/destroy/destroy.h \
	src/kekctl/destroy/destroy_act.c \
	src/kekctl/destroy/destroy_back.c \
	src/kekctl/destroy/destroy_back.h \
	src/kekctl/destroy/destroy_facts.c \
	src/kekctl/destroy/destroy_file.c \
	src/kekctl/destroy/destroy_file.h \
	src/kekctl/destroy/destroy_live.c \
	src/kekctl/destroy/destroy_proof.c \
	src/kekctl/destroy/destroy_rows.c \
	src/kekctl/destroy/destroy_run.h \
	src/kekctl/destroy/destroy_time.c \
	src/kekctl/destroy/destroy_use.c \
	src/kekctl/doctor/api_server.c \
	src/kekctl/doctor/as_worker.c \
	src/kekctl/doctor/as_worker.h \
	src/kekctl/doctor/audit_lines.c \
	src/kekctl/doctor/audit_lost.c \
	src/kekctl/doctor/audit_sockets.c \
	src/kekctl/doctor/backup_lines.c \
	src/kekctl/doctor/become.c \
	src/kekctl/doctor/become.h \
	src/kekctl/doctor/below.c \
	src/kekctl/doctor/below.h \
	src/kekctl/doctor/credentials.c \
	src/kekctl/doctor/credentials.h \
	src/kekctl/doctor/doctor.c \
	src/kekctl/doctor/doctor.h \
	src/kekctl/doctor/elsewhere.c \
	src/kekctl/doctor/elsewhere.h \
	src/kekctl/doctor/elsewhere_lines.c \
	src/kekctl/doctor/environment.c \
	src/kekctl/doctor/environment.h \
	src/kekctl/doctor/file_lines.c \
	src/kekctl/doctor/kube_lines.c \
	src/kekctl/doctor/limits.c \
	src/kekctl/doctor/limits.h \
	src/kekctl/doctor/lines.c \
	src/kekctl/doctor/lines.h \
	src/kekctl/doctor/listeners.c \
	src/kekctl/doctor/listening.c \
	src/kekctl/doctor/listening.h \
	src/kekctl/doctor/lost_record.c \
	src/kekctl/doctor/nodes_lines.c \
	src/kekctl/doctor/outside.c \
	src/kekctl/doctor/owners.c \
	src/kekctl/doctor/owners.h \
	src/kekctl/doctor/pins.c \
	src/kekctl/doctor/pins.h \
	src/kekctl/doctor/provider_lines.c \
	src/kekctl/doctor/root_lines.c \
	src/kekctl/doctor/record_lines.c \
	src/kekctl/doctor/reach.c \
	src/kekctl/doctor/reach.h \
	src/kekctl/doctor/remedy.c \
	src/kekctl/doctor/secret_settings.c \
	src/kekctl/doctor/secret_settings.h \
	src/kekctl/doctor/secrets.c \
	src/kekctl/doctor/secrets.h \
	src/kekctl/doctor/session_lines.c \
	src/kekctl/doctor/softhsm.c \
	src/kekctl/doctor/softhsm.h \
	src/kekctl/doctor/socket.c \
	src/kekctl/doctor/started.c \
	src/kekctl/doctor/started.h \
	src/kekctl/doctor/status_lines.c \
	src/kekctl/doctor/subject.c \
	src/kekctl/doctor/system.c \
	src/kekctl/doctor/token_lines.c \
	src/kekctl/doctor/turn.c \
	src/kekctl/doctor/turn.h \
	src/kekctl/doctor/unit.c \
	src/kekctl/doctor/unit.h \
	src/kekctl/doctor/unit_judge.c \
	src/kekctl/doctor/unit_lines.c \
	src/kekctl/doctor/variables.c \
	src/kekctl/doctor/variables.h \
	src/kekctl/doctor/vendors.c \
	src/kekctl/doctor/vendors.h \
	src/kekctl/doctor/who.c \
	src/kekctl/doctor/who.h \
	src/kekctl/doctor/writers.c \
	src/kekctl/doctor/writers.h \
	src/kekctl/kms/grpc_client.c \
	src/kekctl/kms/grpc_client.h \
	src/kekctl/kms/grpc_status.c \
	src/kekctl/kms/grpc_status.h \
	src/kekctl/inventory/inventory.c \
	src/kekctl/inventory/inventory.h \
	src/kekctl/inventory/inventory_choose.c \
	src/kekctl/inventory/inventory_datakeys.c \
	src/kekctl/inventory/inventory_datakeys.h \
	src/kekctl/inventory/inventory_json.c \
	src/kekctl/inventory/inventory_judge.c \
	src/kekctl/inventory/inventory_keks.c \
	src/kekctl/inventory/inventory_keks.h \
	src/kekctl/inventory/inventory_look.c \
	src/kekctl/inventory/inventory_look.h \
	src/kekctl/inventory/inventory_open.c \
	src/kekctl/inventory/inventory_open.h \
	src/kekctl/inventory/inventory_read.c \
	src/kekctl/inventory/inventory_show.c \
	src/kekctl/inventory/inventory_state.c \
	src/kekctl/inventory/inventory_state.h \
	src/kekctl/inventory/inventory_tally.c \
	src/kekctl/inventory/inventory_tally.h \
	src/kekctl/inventory/inventory_wanted.c \
	src/kekctl/inventory/inventory_wanted.h \
	src/kekctl/fit.c \
	src/kekctl/fit.h \
	src/kekctl/kekctl.c \
	src/kekctl/kekctl.h \
	src/kekctl/key/joint.c \
	src/kekctl/key/joint.h \
	src/kekctl/key/key_adopt.c \
	src/kekctl/key/key_canary.c \
	src/kekctl/key/key_canary.h \
	src/kekctl/key/key_change.c \
	src/kekctl/key/key_describe.c \
	src/kekctl/key/key_describe.h \
	src/kekctl/destroy/key_destroy.c \
	src/kekctl/key/key_attest.c \
	src/kekctl/key/key_findings.c \
	src/kekctl/key/key_findings.h \
	src/kekctl/key/key_generate.c \
	src/kekctl/key/key_list.c \
	src/kekctl/key/key_remarks.c \
	src/kekctl/key/key_remarks.h \
	src/kekctl/rotate/key_rotate.c \
	src/kekctl/key/key_views.c \
	src/kekctl/key/key_views.h \
	src/kekctl/key/keys.c \
	src/kekctl/key/keys.h \
	src/kekctl/key/keys_try.c \
	src/kekctl/kms/kms.c \
	src/kekctl/kms/kms.h \
	src/kekctl/kms/kms_decrypt.c \
	src/kekctl/kms/kms_encrypt.c \
	src/kekctl/kms/kms_status.c \
	src/kekctl/kube/kube_check.c \
	src/kekctl/kube/kube_config.c \
	src/kekctl/kube/kube_config.h \
	src/kekctl/kube/kube_judge.c \
	src/kekctl/kube/kube_judge.h \
	src/kekctl/kube/kube_phases.c \
	src/kekctl/key/login_log.c \
	src/kekctl/key/login_log.h \
	src/kekctl/key/made.c \
	src/kekctl/key/made_for.c \
	src/kekctl/key/root_keys.c \
	src/kekctl/key/root_keys.h \
	src/kekctl/key/root_twins.c \
	src/kekctl/key/root_twins.h \
	src/kekctl/key/made.h \
	src/kekctl/interrupts.c \
	src/kekctl/interrupts.h \
	src/kekctl/main.c \
	src/kekctl/moment.c \
	src/kekctl/moment.h \
	src/kekctl/node/node.c \
	src/kekctl/node/node_parse.c \
	src/kekctl/node/node_parse.h \
	src/kekctl/node/node_say.c \
	src/kekctl/node/node_self.c \
	src/kekctl/node/node_self.h \
	src/kekctl/node/node_ssh.c \
	src/kekctl/node/node_ssh.h \
	src/kekctl/node/node_view.c \
	src/kekctl/node/nodes.c \
	src/kekctl/node/nodes.h \
	src/kekctl/key/new_keyring.c \
	src/kekctl/key/new_keyring.h \
	src/kekctl/key/on_record.c \
	src/kekctl/key/on_record.h \
	src/kekctl/options.c \
	src/kekctl/options.h \
	src/kekctl/output.c \
	src/kekctl/output.h \
	src/kekctl/pin_retry.c \
	src/kekctl/probe/probe.c \
	src/kekctl/probe/probe_describe.c \
	src/kekctl/probe/probe_describe.h \
	src/kekctl/probe/probe_states.c \
	src/kekctl/probe/probe_states.h \
	src/kekctl/reencrypt/reencrypt.c \
	src/kekctl/reencrypt/reencrypt.h \
	src/kekctl/reencrypt/reencrypt_decrypt.c \
	src/kekctl/reencrypt/reencrypt_decrypt.h \
	src/kekctl/reencrypt/reencrypt_etcd.c \
	src/kekctl/reencrypt/reencrypt_etcd.h \
	src/kekctl/reencrypt/reencrypt_guard.c \
	src/kekctl/reencrypt/reencrypt_guard.h \
	src/kekctl/reencrypt/reencrypt_judge.c \
	src/kekctl/reencrypt/reencrypt_list.c \
	src/kekctl/reencrypt/reencrypt_list.h \
	src/kekctl/reencrypt/reencrypt_migrate.c \
	src/kekctl/reencrypt/reencrypt_migrate.h \
	src/kekctl/reencrypt/reencrypt_pace.c \
	src/kekctl/reencrypt/reencrypt_pace.h \
	src/kekctl/reencrypt/reencrypt_proof.c \
	src/kekctl/reencrypt/reencrypt_proof.h \
	src/kekctl/reencrypt/reencrypt_record.c \
	src/kekctl/reencrypt/reencrypt_record.h \
	src/kekctl/reencrypt/reencrypt_run.c \
	src/kekctl/reencrypt/reencrypt_run.h \
	src/kekctl/reencrypt/reencrypt_show.c \
	src/kekctl/reencrypt/reencrypt_show.h \
	src/kekctl/reencrypt/reencrypt_tally.c \
	src/kekctl/report/algorithms.c \
	src/kekctl/report/audit_log.c \
	src/kekctl/report/audit_log.h \
	src/kekctl/report/audit_read.c \
	src/kekctl/report/audit_read.h \
	src/kekctl/report/audit_tally.c \
	src/kekctl/report/audit_tally.h \
	src/kekctl/report/boundary.c \
	src/kekctl/report/configuration.c \
	src/kekctl/report/fitness.c \
	src/kekctl/report/cryptoperiods.c \
	src/kekctl/report/history.c \
	src/kekctl/report/objects.c \
	src/kekctl/report/life.c \
	src/kekctl/report/life.h \
	src/kekctl/report/page.c \
	src/kekctl/report/page.h \
	src/kekctl/report/period.c \
	src/kekctl/report/period.h \
	src/kekctl/report/proofs.c \
	src/kekctl/report/report.c \
	src/kekctl/report/report.h \
	src/kekctl/report/report_files.c \
	src/kekctl/report/report_files.h \
	src/kekctl/report/report_page.c \
	src/kekctl/report/report_page.h \
	src/kekctl/report/report_verify.c \
	src/kekctl/report/section.c \
	src/kekctl/report/sections.c \
	src/kekctl/report/sections.h \
	src/kekctl/report/signature.c \
	src/kekctl/report/signature.h \
	src/kekctl/report/software.c \
	src/kekctl/report/tokens.c \
	src/kekctl/report/usage.c \
	src/kekctl/report/versions.c \
	src/kekctl/rig/rig.c \
	src/kekctl/rig/rig.h \
	src/kekctl/rotate/rewrite_time.c \
	src/kekctl/rotate/rewrite_time.h \
	src/kekctl/rotate/rotate.h \
	src/kekctl/rotate/rotate_act.c \
	src/kekctl/rotate/rotate_facts.c \
	src/kekctl/rotate/rotate_show.c \
	src/kekctl/rotate/rotate_show.h \
	src/kekctl/rotate/rotation.c \
	src/kekctl/rotate/rotation.h \
	src/kekctl/rotate/rotation_check.c \
	src/kekctl/rotate/rotation_check.h \
	src/kekctl/rotate/rotation_file.c \
	src/kekctl/rotate/rotation_file.h \
	src/kekctl/rotate/rotation_target.c \
	src/kekctl/rotate/rotation_target.h \
	src/kekctl/rotate/rotation_words.c \
	src/kekctl/key/version_entry.c \
	src/kekctl/key/version_entry.h
# What shells complete, as the program itself says it; where it does not run here, whoever installs it runs it there.
if RUNS_HERE
bashcompletiondir = $(datadir)/bash-completion/completions
zshcompletiondir = $(datadir)/zsh/site-functions
nodist_bashcompletion_DATA = completions/kekctl
nodist_zshcompletion_DATA = completions/_kekctl
CLEANFILES += completions/kekctl completions/_kekctl
completions/kekctl: kekctl$(EXEEXT)
	$(AM_V_GEN)$(MKDIR_P) completions && ./kekctl completion bash > $@.new && mv $@.new $@
completions/_kekctl: kekctl$(EXEEXT)
	$(AM_V_GEN)$(MKDIR_P) completions && ./kekctl completion zsh > $@.new && mv $@.new $@
endif
kekctl_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src -DKEK_SBINDIR='"$(sbindir)"'
src/kekctl/report/kekctl-software.$(OBJEXT): Makefile
kekctl_CFLAGS = $(AM_CFLAGS) $(NGHTTP2_CFLAGS) $(PROTOBUF_C_CFLAGS) $(SMARTCOLS_CFLAGS) $(JANSSON_CFLAGS)
kekctl_LDADD = libkek-kube.a libkek-etcd.a $(KUBEAPI_LIBS) libkek-ops.a $(SSL_LIBS) libkek-roots.a libkek-keyring.a $(POOL_LIBS) libkek-proto.a $(ENVELOPE_LIBS) $(CONFIG_LIBS) $(NGHTTP2_LIBS) $(PROTOBUF_C_LIBS) $(SMARTCOLS_LIBS) \
	$(JANSSON_LIBS)
dist_man_MANS += docs/kekctl.1 docs/kekd-gcpkms.8 docs/kekd-pkcs11.8 docs/kekd-transit.8 docs/kekd.8

if HAVE_CHECK
KEKCTL_TESTS = tests/unit/test_conformance tests/unit/test_doctor tests/unit/test_evidence tests/unit/test_inventory tests/unit/test_kekctl_grpc tests/unit/test_kube_judge tests/unit/test_node tests/unit/test_report tests/unit/test_report_page tests/unit/test_rotation tests/unit/test_rotation_check tests/unit/test_rotation_file \
	tests/unit/test_reencrypt_parts tests/unit/test_rotation_model
check_PROGRAMS += $(KEKCTL_TESTS)
TESTS += $(KEKCTL_TESTS)
tests_unit_test_doctor_SOURCES = \
	tests/unit/test_doctor.c \
	src/kekctl/audit/pace.c \
	src/kekctl/doctor/api_server.c \
	src/kekctl/key/backup.c \
	src/kekctl/doctor/below.c \
	src/kekctl/doctor/limits.c \
	src/kekctl/doctor/lines.c \
	src/kekctl/doctor/unit.c \
	src/kekctl/doctor/unit_judge.c \
	src/kekctl/fit.c \
	src/kekctl/kekctl.c \
	src/kekctl/output.c
tests_unit_test_doctor_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
tests_unit_test_doctor_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS) $(SMARTCOLS_CFLAGS)
tests_unit_test_doctor_LDADD = $(CONFIG_LIBS) $(SMARTCOLS_LIBS) $(JANSSON_LIBS) $(UNIT_LIBS)
tests_unit_test_conformance_SOURCES = tests/unit/test_conformance.c src/kekctl/conformance/junit.c src/kekctl/conformance/last_run.c
tests_unit_test_conformance_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
tests_unit_test_conformance_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_conformance_LDADD = $(OPS_ROOMS)
tests_unit_test_evidence_SOURCES = tests/unit/test_evidence.c src/kekctl/inventory/evidence.c src/kekctl/moment.c src/kekctl/node/node_parse.c
tests_unit_test_evidence_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
tests_unit_test_evidence_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_evidence_LDADD = $(OPS_ROOMS)
tests_unit_test_kube_judge_SOURCES = tests/unit/test_kube_judge.c src/kekctl/kube/kube_judge.c src/kekctl/inventory/inventory_look.c src/kekctl/inventory/inventory_tally.c
tests_unit_test_kube_judge_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
tests_unit_test_kube_judge_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_kube_judge_LDADD = libkek-roots.a libkek-keyring.a $(POOL_LIBS) $(KUBE_LIBS) $(CONFIG_LIBS) $(JANSSON_LIBS) $(UNIT_LIBS)
tests_unit_test_inventory_SOURCES = tests/unit/test_inventory.c src/kekctl/inventory/inventory_look.c src/kekctl/inventory/inventory_state.c src/kekctl/inventory/inventory_tally.c
tests_unit_test_inventory_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
tests_unit_test_inventory_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_inventory_LDADD = libkek-roots.a libkek-keyring.a $(POOL_LIBS) $(KUBE_LIBS) $(CONFIG_LIBS) $(JANSSON_LIBS) $(UNIT_LIBS)
tests_unit_test_kekctl_grpc_SOURCES = tests/unit/test_kekctl_grpc.c src/kekctl/kms/grpc_client.c \
	src/kekctl/kms/grpc_status.c
tests_unit_test_kekctl_grpc_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
tests_unit_test_kekctl_grpc_CFLAGS = $(UNIT_CFLAGS) $(NGHTTP2_CFLAGS)
tests_unit_test_node_SOURCES = tests/unit/test_node.c src/kekctl/node/node_parse.c
tests_unit_test_node_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
tests_unit_test_node_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_node_LDADD = $(OPS_ROOMS)
tests_unit_test_kekctl_grpc_LDADD = $(BASE_LIBS) $(NGHTTP2_LIBS) $(UNIT_LIBS) -lpthread
tests_unit_test_report_SOURCES = \
	tests/unit/test_report.c \
	src/kekctl/fit.c \
	src/kekctl/kekctl.c \
	src/kekctl/output.c \
	src/kekctl/audit/check.c \
	src/kekctl/audit/check_end.c \
	src/kekctl/audit/files.c \
	src/kekctl/audit/pace.c \
	src/kekctl/audit/telling.c \
	src/kekctl/report/audit_read.c \
	src/kekctl/report/audit_tally.c \
	src/kekctl/report/life.c \
	src/kekctl/report/period.c
tests_unit_test_report_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
tests_unit_test_report_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS) $(SMARTCOLS_CFLAGS)
tests_unit_test_report_LDADD = $(OPS_ROOMS) $(SMARTCOLS_LIBS) $(JANSSON_LIBS) $(UNIT_LIBS)
tests_unit_test_report_page_SOURCES = tests/unit/test_report_page.c src/kekctl/report/page.c
tests_unit_test_report_page_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
tests_unit_test_report_page_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_report_page_LDADD = $(OPS_ROOMS) $(JANSSON_LIBS) $(UNIT_LIBS)
ROTATION_SOURCES = \
	src/kekctl/node/node_view.c \
	src/kekctl/rotate/rotation.c \
	src/kekctl/rotate/rotation_check.c \
	src/kekctl/rotate/rotation_target.c \
	src/kekctl/rotate/rotation_words.c \
	tests/unit/rotation_facts.h
ROTATION_LIBS = libkek-keyring.a $(POOL_LIBS) $(ENVELOPE_LIBS) $(CONFIG_LIBS) $(JANSSON_LIBS) $(UNIT_LIBS)
tests_unit_test_rotation_SOURCES = tests/unit/test_rotation.c tests/unit/rotation_plan.h $(ROTATION_SOURCES)
tests_unit_test_rotation_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
tests_unit_test_rotation_CFLAGS = $(UNIT_CFLAGS) $(PROTOBUF_C_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_rotation_LDADD = $(ROTATION_LIBS)
tests_unit_test_rotation_check_SOURCES = tests/unit/test_rotation_check.c tests/unit/rotation_plan.h $(ROTATION_SOURCES)
tests_unit_test_rotation_check_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
tests_unit_test_rotation_check_CFLAGS = $(UNIT_CFLAGS) $(PROTOBUF_C_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_rotation_check_LDADD = $(ROTATION_LIBS)
tests_unit_test_rotation_file_SOURCES = tests/unit/test_rotation_file.c src/kekctl/rotate/rotation_file.c $(ROTATION_SOURCES)
tests_unit_test_rotation_file_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
tests_unit_test_rotation_file_CFLAGS = $(UNIT_CFLAGS) $(PROTOBUF_C_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_rotation_file_LDADD = $(ROTATION_LIBS)
tests_unit_test_rotation_model_SOURCES = tests/unit/test_rotation_model.c $(ROTATION_SOURCES)
tests_unit_test_rotation_model_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
tests_unit_test_rotation_model_CFLAGS = $(UNIT_CFLAGS) $(PROTOBUF_C_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_rotation_model_LDADD = $(ROTATION_LIBS)
tests_unit_test_reencrypt_parts_SOURCES = \
	tests/unit/test_reencrypt_parts.c \
	src/kekctl/fit.c \
	src/kekctl/kekctl.c \
	src/kekctl/output.c \
	src/kekctl/reencrypt/reencrypt_judge.c \
	src/kekctl/reencrypt/reencrypt_pace.c \
	src/kekctl/node/node_view.c \
	src/kekctl/reencrypt/reencrypt_show.c \
	src/kekctl/reencrypt/reencrypt_tally.c \
	src/kekctl/rotate/rewrite_time.c \
	src/kekctl/rotate/rotation_words.c
tests_unit_test_reencrypt_parts_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src
tests_unit_test_reencrypt_parts_CFLAGS = $(UNIT_CFLAGS) $(JANSSON_CFLAGS) $(SMARTCOLS_CFLAGS)
tests_unit_test_reencrypt_parts_LDADD = $(KUBEAPI_LIBS) libkek-keyring.a $(POOL_LIBS) $(ENVELOPE_LIBS) $(CONFIG_LIBS) \
	$(SMARTCOLS_LIBS) $(JANSSON_LIBS) $(UNIT_LIBS)
endif

kekctl_script_tests = tests/unit/test_completion.py tests/unit/test_kekctl.py tests/unit/test_kekctl_keys.py tests/unit/test_kekctl_changes.py \
	tests/unit/test_kekctl_new_keyring.py \
	tests/unit/test_kekctl_roots.py \
	tests/unit/test_kekctl_destroy.py \
	tests/unit/test_kekctl_destroy_roots.py \
	tests/unit/test_kekctl_audit.py \
	tests/unit/test_kekctl_kube.py \
	tests/unit/test_reencrypt.py \
	tests/unit/test_reencrypt_roots.py
EXTRA_DIST += tests/unit/audit_chain.py tests/unit/full_log.py tests/unit/kube_server.py
dist_check_SCRIPTS += $(kekctl_script_tests)
TESTS += $(kekctl_script_tests)
