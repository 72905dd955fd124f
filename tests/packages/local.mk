# Packages, built out of what make dist packs.
PACKAGE_TESTS = \
	tests/packages/test_deb.py \
	tests/packages/test_image.py \
	tests/packages/test_rpm.py
dist_check_SCRIPTS += $(PACKAGE_TESTS)
TESTS += $(PACKAGE_TESTS)
EXTRA_DIST += tests/packages/first_hour.py tests/packages/made.py
