# Every test in Python runs under Debian's own interpreter, which leaves no cache among the sources.
TEST_EXTENSIONS = .py
PY_LOG_COMPILER = $(PYTHON3)
AM_PY_LOG_FLAGS = -B

check_PROGRAMS += tests/interop/seal_one
tests_interop_seal_one_SOURCES = tests/interop/seal_one.c
tests_interop_seal_one_LDADD = $(ENVELOPE_LIBS)
check_PROGRAMS += tests/interop/stored
tests_interop_stored_SOURCES = tests/interop/stored.c
tests_interop_stored_LDADD = $(KUBE_LIBS)
dist_check_SCRIPTS += tests/interop/test_recovery.py
TESTS += tests/interop/test_recovery.py
# Minutes, under the sanitizers.
TESTS += tests/unit/test_pkcs11_returns

# The C-core gRPC client of Debian, and raw bytes.  Each file is one theme and one test.  What takes a minute or more
# begins first, the longest ahead of all.
INTEROP_TESTS = \
	tests/interop/test_faults.py \
	tests/interop/test_faults_start.py \
	tests/interop/test_faults_unlike.py \
	tests/interop/test_oom.py \
	tests/interop/test_token.py \
	tests/interop/test_conformance.py \
	tests/interop/test_apiserver.py \
	tests/interop/test_audit_join.py \
	tests/interop/test_audit_mac.py \
	tests/interop/test_destroy.py \
	tests/interop/test_views.py \
	tests/interop/test_swap.py \
	tests/interop/test_providers.py \
	tests/interop/test_report_audit.py \
	tests/interop/test_canary.py \
	tests/interop/test_roots.py \
	tests/interop/test_changes.py \
	tests/interop/test_cost.py \
	tests/interop/test_adopt.py \
	tests/interop/test_audit.py \
	tests/interop/test_audit_renamed.py \
	tests/interop/test_audit_roots.py \
	tests/interop/test_audit_sink.py \
	tests/interop/test_badinput.py \
	tests/interop/test_config.py \
	tests/interop/test_destroy_page.py \
	tests/interop/test_disaster.py \
	tests/interop/test_doctor.py \
	tests/interop/test_doctor_audit.py \
	tests/interop/test_doctor_cures.py \
	tests/interop/test_doctor_elsewhere.py \
	tests/interop/test_doctor_keys.py \
	tests/interop/test_doctor_kube.py \
	tests/interop/test_doctor_owners.py \
	tests/interop/test_doctor_start.py \
	tests/interop/test_encryption.py \
	tests/interop/test_etcd.py \
	tests/interop/test_fault_module.py \
	tests/interop/test_faults_neighbours.py \
	tests/interop/test_inventory.py \
	tests/interop/test_inventory_etcds.py \
	tests/interop/test_inventory_roots.py \
	tests/interop/test_inventory_verify.py \
	tests/interop/test_lifecycle.py \
	tests/interop/test_log.py \
	tests/interop/test_recovery_of_kekd.py \
	tests/interop/test_reencrypt_cluster.py \
	tests/interop/test_report.py \
	tests/interop/test_report_roots.py \
	tests/interop/test_report_signature.py \
	tests/interop/test_nodes.py \
	tests/interop/test_rotation.py \
	tests/interop/test_rotate.py \
	tests/interop/test_roots_all.py \
	tests/interop/test_roots_damaged.py \
	tests/interop/test_roots_moves.py \
	tests/interop/test_roots_openbao.py \
	tests/interop/test_roots_same_kek.py \
	tests/interop/test_roots_tpm2.py \
	tests/interop/test_roots_views.py \
	tests/interop/test_roundtrip.py \
	tests/interop/test_schedules.py \
	tests/interop/test_separation.py \
	tests/interop/test_state_dir.py \
	tests/interop/test_states.py \
	tests/interop/test_status.py \
	tests/interop/test_transit.py \
	tests/interop/test_verdict.py \
	tests/interop/test_wire.py \
	tests/interop/test_workers.py \
	tests/interop/test_wrong_token.py
TESTS += $(INTEROP_TESTS)
EXTRA_DIST += \
	tests/README.md \
	$(INTEROP_TESTS) \
	tests/interop/apiserver.py \
	tests/interop/certs.py \
	tests/interop/clean_root.py \
	tests/interop/cluster.py \
	tests/interop/doctoring.py \
	tests/interop/etcd_fake.py \
	tests/interop/etcd_server.py \
	tests/interop/failing.py \
	tests/interop/fault.py \
	tests/interop/h2.py \
	tests/interop/inventories.py \
	tests/interop/kms.py \
	tests/interop/kubectl.py \
	tests/interop/moved.py \
	tests/interop/openbao.py \
	tests/interop/p11.py \
	tests/interop/pages.py \
	tests/interop/proc.py \
	tests/interop/protowire.py \
	tests/interop/reporting.py \
	tests/interop/rig.py \
	tests/interop/roots.py \
	tests/interop/rotation.py \
	tests/interop/scan.py \
	tests/interop/softhsm.py \
	tests/interop/start_page.py \
	tests/interop/swap.py \
	tests/interop/throwaway.py \
	tests/interop/traffic.py \
	tests/interop/transit_server.py

# Loaded into kekd ahead of the C library: plain, whatever the sanitizers of the build.
EXTRA_DIST += tests/interop/clock_off.c
check_DATA += tests/interop/clock_off.so
CLEANFILES += tests/interop/clock_off.so
tests/interop/clock_off.so: tests/interop/clock_off.c
	$(AM_V_CCLD)$(MKDIR_P) tests/interop && \
	$(CC) -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -O1 -fPIC -shared -o $@ $(srcdir)/tests/interop/clock_off.c
# A rotation and a destruction that are killed at every place, not at a few: an hour.
PHONY_TARGETS += kills
kills: all
	$(MAKE) $(AM_MAKEFLAGS) check TESTS=
	$(AM_TESTS_ENVIRONMENT) KEK_ROTATE_KILLS=all $(PYTHON3) -B $(srcdir)/tests/interop/test_rotate.py Killed
	$(AM_TESTS_ENVIRONMENT) KEK_DESTROY_KILLS=all $(PYTHON3) -B $(srcdir)/tests/interop/test_destroy.py Killed

# kek/etcd.h against a real etcd.
check_PROGRAMS += tests/interop/etcd_read
tests_interop_etcd_read_LDADD = $(ETCD_LIBS) $(BASE_LIBS)
