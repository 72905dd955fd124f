# The benchmark.  `make bench` prints the table; BENCH_FLAGS="--json FILE", "--long" and so on.
# Its programs are built by `make check`, which runs a few calls of everything (no figure is judged).
bench_programs = tests/bench/load tests/bench/pingpong tests/bench/raw_pkcs11
check_PROGRAMS += $(bench_programs)

tests_bench_load_SOURCES = tests/bench/load.c \
	tests/bench/wire.c tests/bench/wire.h \
	tests/bench/common.c tests/bench/common.h
tests_bench_load_CFLAGS = $(AM_CFLAGS) $(NGHTTP2_CFLAGS) $(PROTOBUF_C_CFLAGS)
tests_bench_load_LDADD = libkek-proto.a $(PROTOBUF_C_LIBS) $(NGHTTP2_LIBS)

tests_bench_pingpong_SOURCES = tests/bench/pingpong.c tests/bench/common.c tests/bench/common.h

tests_bench_raw_pkcs11_SOURCES = tests/bench/raw_pkcs11.c \
	tests/bench/common.c tests/bench/common.h
tests_bench_raw_pkcs11_CFLAGS = $(AM_CFLAGS) $(P11_KIT_CFLAGS)
tests_bench_raw_pkcs11_LDADD = -ldl

EXTRA_DIST += tests/bench/audit_file.py tests/bench/bench.py tests/bench/bridge.py tests/bench/etcd.py \
	tests/bench/h2load.py tests/bench/node.py tests/bench/report.py tests/bench/two_roots.py
dist_check_SCRIPTS += tests/bench/test_smoke.py
TESTS += tests/bench/test_smoke.py

PHONY_TARGETS += bench
bench: all
	$(MAKE) $(AM_MAKEFLAGS) $(bench_programs) tests/faults/fault.so
	abs_top_builddir='$(abs_top_builddir)' abs_top_srcdir='$(abs_top_srcdir)' \
		$(PYTHON3) $(srcdir)/tests/bench/bench.py $(BENCH_FLAGS)

# Reading an etcd of 10,000 keys and one of 1,000,000, beside Kubernetes' own client; needs Go and etcd.
PHONY_TARGETS += bench-etcd
bench-etcd: all
	$(MAKE) $(AM_MAKEFLAGS) tests/interop/etcd_read
	abs_top_builddir='$(abs_top_builddir)' abs_top_srcdir='$(abs_top_srcdir)' \
		$(PYTHON3) $(srcdir)/tests/bench/etcd.py $(BENCH_FLAGS)
