# Faults and endurance under load, by numbers.  `make chaos` is a bad day of two minutes, `make soak` a
# million operations; CHAOS_FLAGS='--seed 7 --seconds 600', SOAK_FLAGS='--calls 10000000'.  The suite
# runs both for a few seconds.
dist_check_SCRIPTS += tests/chaos/test_chaos.py tests/chaos/test_soak.py
TESTS += tests/chaos/test_chaos.py tests/chaos/test_soak.py
EXTRA_DIST += tests/chaos/chaos.py tests/chaos/soak.py

CHAOS_ENVIRONMENT = abs_top_builddir='$(abs_top_builddir)' abs_top_srcdir='$(abs_top_srcdir)'
PHONY_TARGETS += chaos soak
chaos: all tests/faults/fault.so
	$(CHAOS_ENVIRONMENT) $(PYTHON3) -B $(srcdir)/tests/chaos/chaos.py $(CHAOS_FLAGS)
soak: all
	$(MAKE) $(AM_MAKEFLAGS) tests/bench/load
	$(CHAOS_ENVIRONMENT) $(PYTHON3) -B $(srcdir)/tests/chaos/soak.py $(SOAK_FLAGS)
