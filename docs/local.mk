# The pages, for whoever has the program and not its sources; the manual pages stand with their rooms.
dist_doc_DATA = \
	NEWS \
	README.md \
	SECURITY.md \
	docs/architecture.md \
	docs/disaster.md \
	docs/encryption.md \
	docs/envelope-format.md \
	docs/failure-modes.md \
	docs/kube-storage.md \
	docs/operations.md \
	docs/provider-protocol.md \
	docs/recovery.md \
	docs/threat-model.md
