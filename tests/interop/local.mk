check_PROGRAMS += tests/interop/seal_one
tests_interop_seal_one_SOURCES = tests/interop/seal_one.c
tests_interop_seal_one_LDADD = $(ENVELOPE_LIBS)
dist_check_SCRIPTS += tests/interop/test_recovery.py
TESTS += tests/interop/test_recovery.py
