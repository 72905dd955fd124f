EXTRA_DIST += \
	docs/architecture.md \
	docs/envelope-format.md \
	docs/failure-modes.md \
	docs/recovery.md \
	docs/provider-protocol.md
