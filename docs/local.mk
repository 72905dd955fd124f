EXTRA_DIST += \
	docs/envelope-format.md \
	docs/recovery.md
