# The pages, for whoever has the program and not its sources; the manual pages stand with their rooms.
dist_doc_DATA = \
	NEWS \
	README.md \
	SECURITY.md \
	docs/architecture.md \
	docs/cloud-hsm.md \
	docs/dashboard.svg \
	docs/disaster.md \
	docs/encryption.md \
	docs/envelope-format.md \
	docs/evidence.md \
	docs/failure-modes.md \
	docs/first-hour.md \
	docs/kube-storage.md \
	docs/openbao.md \
	docs/operations.md \
	docs/platforms.md \
	docs/provider-protocol.md \
	docs/recovery.md \
	docs/roots.md \
	docs/threat-model.md
