# The three programs, of which one allocation fails (tests/oom/oom.c).
FAILING_ALLOCATIONS = $(AM_LDFLAGS) -rdynamic -Wl,--wrap=malloc -Wl,--wrap=calloc -Wl,--wrap=realloc \
	-Wl,--wrap=strdup -Wl,--wrap=strndup -Wl,--wrap=asprintf -Wl,--wrap=__asprintf_chk \
	-Wl,--wrap=CRYPTO_secure_malloc -Wl,--wrap=CRYPTO_secure_zalloc -Wl,--wrap=_exit
check_PROGRAMS += tests/oom/kekd tests/oom/kekd-pkcs11 tests/oom/kekctl

tests_oom_kekd_SOURCES = $(kekd_SOURCES) tests/oom/oom.c
tests_oom_kekd_CPPFLAGS = $(kekd_CPPFLAGS)
tests_oom_kekd_LDADD = $(kekd_LDADD)
tests_oom_kekd_LDFLAGS = $(FAILING_ALLOCATIONS)

tests_oom_kekd_pkcs11_SOURCES = $(kekd_pkcs11_SOURCES) tests/oom/oom.c
tests_oom_kekd_pkcs11_CFLAGS = $(kekd_pkcs11_CFLAGS)
tests_oom_kekd_pkcs11_LDADD = $(kekd_pkcs11_LDADD)
tests_oom_kekd_pkcs11_LDFLAGS = $(FAILING_ALLOCATIONS)

tests_oom_kekctl_CPPFLAGS = $(kekctl_CPPFLAGS)
tests_oom_kekctl_SOURCES = $(kekctl_SOURCES) tests/oom/oom.c
tests_oom_kekctl_CFLAGS = $(kekctl_CFLAGS)
tests_oom_kekctl_LDADD = $(kekctl_LDADD)
tests_oom_kekctl_LDFLAGS = $(FAILING_ALLOCATIONS)

# Every allocation of the libraries too: hours.
PHONY_TARGETS += oom
oom: all
	$(MAKE) $(AM_MAKEFLAGS) check TESTS=
	$(AM_TESTS_ENVIRONMENT) KEK_OOM_STRIDE=1 $(PYTHON3) -B $(srcdir)/tests/interop/test_oom.py
