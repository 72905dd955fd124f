# kekd-gcpkms against a stand-in made of Google's own definitions, which Google's own clients have proven. What they take
# from npm and PyPI is got by parts.py, or they skip.
if BRIDGE
CLOUD_TESTS = \
	tests/cloud/test_attest.py \
	tests/cloud/test_gcpkms.py \
	tests/cloud/test_gcpkms_worker.py \
	tests/cloud/test_peers.py \
	tests/cloud/test_roots_gcpkms.py
TESTS += $(CLOUD_TESTS)
endif
EXTRA_DIST += \
	tests/cloud/test_attest.py \
	tests/cloud/test_gcpkms.py \
	tests/cloud/test_gcpkms_worker.py \
	tests/cloud/test_peers.py \
	tests/cloud/test_roots_gcpkms.py \
	tests/cloud/gcp.py \
	tests/cloud/gcp_attest.js \
	tests/cloud/gcp_hsm.py \
	tests/cloud/gcp_kms.js \
	tests/cloud/gcp_server.js \
	tests/cloud/gcp_state.js \
	tests/cloud/gcp_tokens.js \
	tests/cloud/package-lock.json \
	tests/cloud/package.json \
	tests/cloud/parts.py \
	tests/cloud/peer.js \
	tests/cloud/peer.py \
	tests/cloud/requirements.txt

clean-local: clean-cloud-parts
clean-cloud-parts:
	rm -rf tests/cloud-parts
PHONY_TARGETS += clean-cloud-parts
