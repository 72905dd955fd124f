# Every provider must do the same: four independent tokens, each made from a Debian package, and two services.
CONFORMANCE_TESTS = \
	tests/conformance/test_gcpkms.py \
	tests/conformance/test_nss.py \
	tests/conformance/test_openbao.py \
	tests/conformance/test_opencryptoki.py \
	tests/conformance/test_softhsm.py \
	tests/conformance/test_tpm2.py
dist_check_SCRIPTS += $(CONFORMANCE_TESTS)
TESTS += $(CONFORMANCE_TESTS)
EXTRA_DIST += \
	tests/conformance/conformance.py \
	tests/conformance/elsewhere.py \
	tests/conformance/services.py \
	tests/conformance/tokens.py \
	tests/conformance/worker.py
