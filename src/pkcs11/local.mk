# The worker. Everything but main() is an archive, so that its tests link with it.
noinst_LIBRARIES += libkek-pkcs11.a
libkek_pkcs11_a_SOURCES = \
	src/pkcs11/audit_key.c \
	src/pkcs11/calls.c \
	src/pkcs11/calls.h \
	src/pkcs11/copies.c \
	src/pkcs11/describe.c \
	src/pkcs11/errors.c \
	src/pkcs11/errors.h \
	src/pkcs11/exporters.c \
	src/pkcs11/exporters.h \
	src/pkcs11/keep.c \
	src/pkcs11/keys.c \
	src/pkcs11/keys.h \
	src/pkcs11/library.c \
	src/pkcs11/library.h \
	src/pkcs11/login.c \
	src/pkcs11/make.c \
	src/pkcs11/mac.c \
	src/pkcs11/module.c \
	src/pkcs11/objects.c \
	src/pkcs11/officer.c \
	src/pkcs11/p11.h \
	src/pkcs11/pin.c \
	src/pkcs11/pin.h \
	src/pkcs11/probe.c \
	src/pkcs11/requests.c \
	src/pkcs11/scan.c \
	src/pkcs11/search.c \
	src/pkcs11/session.c \
	src/pkcs11/states.c \
	src/pkcs11/token.c \
	src/pkcs11/token.h \
	src/pkcs11/trial.c \
	src/pkcs11/try_key.c \
	src/pkcs11/uri.c \
	src/pkcs11/uri.h \
	src/pkcs11/wrap.c
libkek_pkcs11_a_CFLAGS = $(AM_CFLAGS) $(PROTOBUF_C_CFLAGS) $(P11_KIT_CFLAGS)

# No libuv: a worker blocks.
PKCS11_LIBS = libkek-pkcs11.a $(SERVE_LIBS) $(P11_KIT_LIBS)

pkglibexec_PROGRAMS += kekd-pkcs11
kekd_pkcs11_SOURCES = src/pkcs11/main.c
kekd_pkcs11_CFLAGS = $(libkek_pkcs11_a_CFLAGS)
kekd_pkcs11_LDADD = $(PKCS11_LIBS)

if HAVE_CHECK
# What the tests that drive the real program share.
noinst_HEADERS += tests/unit/fault.h tests/unit/pkcs11_list.h tests/unit/worker.h
WORKER_TEST_CFLAGS = $(UNIT_CFLAGS) $(PROTOBUF_C_CFLAGS) $(P11_KIT_CFLAGS) -I$(top_srcdir)/src/pkcs11
WORKER_TEST_LIBS = libkek-proto.a libkek-base.a $(PROTOBUF_C_LIBS) $(OPENSSL_LIBS) $(UNIT_LIBS) -ldl

PKCS11_TESTS = \
	tests/unit/test_pkcs11_faults \
	tests/unit/test_pkcs11_keep \
	tests/unit/test_pkcs11_keys \
	tests/unit/test_pkcs11_copies \
	tests/unit/test_pkcs11_list \
	tests/unit/test_pkcs11_login \
	tests/unit/test_pkcs11_other_key \
	tests/unit/test_pkcs11_proof \
	tests/unit/test_pkcs11_start \
	tests/unit/test_pkcs11_states \
	tests/unit/test_pkcs11_token \
	tests/unit/test_pkcs11_worker \
	tests/unit/test_pkcs11_worker_keys
check_PROGRAMS += $(PKCS11_TESTS) tests/unit/test_pkcs11_returns
TESTS += $(PKCS11_TESTS)

tests_unit_test_pkcs11_faults_SOURCES = tests/unit/test_pkcs11_faults.c tests/unit/fault.c \
	tests/unit/worker.c
tests_unit_test_pkcs11_faults_CFLAGS = $(WORKER_TEST_CFLAGS)
tests_unit_test_pkcs11_faults_LDADD = $(WORKER_TEST_LIBS)

tests_unit_test_pkcs11_keep_SOURCES = tests/unit/test_pkcs11_keep.c tests/unit/fault.c \
	tests/unit/worker.c
tests_unit_test_pkcs11_keep_CFLAGS = $(WORKER_TEST_CFLAGS)
tests_unit_test_pkcs11_keep_LDADD = $(WORKER_TEST_LIBS)

tests_unit_test_pkcs11_keys_CFLAGS = $(WORKER_TEST_CFLAGS)
tests_unit_test_pkcs11_keys_LDADD = $(PKCS11_LIBS) $(UNIT_LIBS)

tests_unit_test_pkcs11_list_SOURCES = tests/unit/test_pkcs11_list.c tests/unit/fault.c \
	tests/unit/worker.c
tests_unit_test_pkcs11_list_CFLAGS = $(WORKER_TEST_CFLAGS)
tests_unit_test_pkcs11_list_LDADD = $(WORKER_TEST_LIBS)

tests_unit_test_pkcs11_login_SOURCES = tests/unit/test_pkcs11_login.c tests/unit/fault.c \
	tests/unit/worker.c
tests_unit_test_pkcs11_login_CFLAGS = $(WORKER_TEST_CFLAGS)
tests_unit_test_pkcs11_login_LDADD = $(WORKER_TEST_LIBS)

tests_unit_test_pkcs11_other_key_SOURCES = tests/unit/test_pkcs11_other_key.c tests/unit/fault.c \
	tests/unit/worker.c
tests_unit_test_pkcs11_other_key_CFLAGS = $(WORKER_TEST_CFLAGS)
tests_unit_test_pkcs11_other_key_LDADD = $(WORKER_TEST_LIBS)

tests_unit_test_pkcs11_copies_SOURCES = tests/unit/test_pkcs11_copies.c tests/unit/fault.c \
	tests/unit/worker.c
tests_unit_test_pkcs11_copies_CFLAGS = $(WORKER_TEST_CFLAGS)
tests_unit_test_pkcs11_copies_LDADD = $(WORKER_TEST_LIBS)

tests_unit_test_pkcs11_proof_SOURCES = tests/unit/test_pkcs11_proof.c tests/unit/fault.c \
	tests/unit/worker.c
tests_unit_test_pkcs11_proof_CFLAGS = $(WORKER_TEST_CFLAGS)
tests_unit_test_pkcs11_proof_LDADD = $(PKCS11_LIBS) $(WORKER_TEST_LIBS)

tests_unit_test_pkcs11_returns_SOURCES = tests/unit/test_pkcs11_returns.c tests/unit/fault.c \
	tests/unit/worker.c
tests_unit_test_pkcs11_returns_CFLAGS = $(WORKER_TEST_CFLAGS)
tests_unit_test_pkcs11_returns_LDADD = $(WORKER_TEST_LIBS)

tests_unit_test_pkcs11_start_SOURCES = tests/unit/test_pkcs11_start.c tests/unit/worker.c
tests_unit_test_pkcs11_start_CFLAGS = $(WORKER_TEST_CFLAGS)
tests_unit_test_pkcs11_start_LDADD = $(WORKER_TEST_LIBS)

tests_unit_test_pkcs11_states_SOURCES = tests/unit/test_pkcs11_states.c tests/unit/fault.c \
	tests/unit/worker.c
tests_unit_test_pkcs11_states_CFLAGS = $(WORKER_TEST_CFLAGS)
tests_unit_test_pkcs11_states_LDADD = $(WORKER_TEST_LIBS)

tests_unit_test_pkcs11_token_SOURCES = tests/unit/test_pkcs11_token.c tests/unit/fault.c \
	tests/unit/worker.c
tests_unit_test_pkcs11_token_CFLAGS = $(WORKER_TEST_CFLAGS)
tests_unit_test_pkcs11_token_LDADD = $(WORKER_TEST_LIBS)

tests_unit_test_pkcs11_worker_SOURCES = tests/unit/test_pkcs11_worker.c tests/unit/worker.c
tests_unit_test_pkcs11_worker_CFLAGS = $(WORKER_TEST_CFLAGS)
tests_unit_test_pkcs11_worker_LDADD = $(WORKER_TEST_LIBS)

tests_unit_test_pkcs11_worker_keys_SOURCES = tests/unit/test_pkcs11_worker_keys.c tests/unit/worker.c
tests_unit_test_pkcs11_worker_keys_CFLAGS = $(WORKER_TEST_CFLAGS)
tests_unit_test_pkcs11_worker_keys_LDADD = $(WORKER_TEST_LIBS)
endif

# A module to load at run time: plain, whatever the sanitizers of the build.
FAULT_MODULE = tests/faults/cache.c tests/faults/control.c tests/faults/fault.c tests/faults/handles.c
FAULT_FACES = tests/faults/cache.h tests/faults/control.h tests/faults/handles.h
EXTRA_DIST += $(FAULT_MODULE) tests/faults/README.md
noinst_HEADERS += $(FAULT_FACES)
EXTRA_DIST += tests/faults/killed.c
check_DATA += tests/faults/fault.so tests/faults/killed.so
CLEANFILES += tests/faults/fault.so tests/faults/killed.so
tests/faults/killed.so: tests/faults/killed.c
	$(AM_V_CCLD)$(MKDIR_P) tests/faults && \
	$(CC) -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -O1 -fPIC -shared -o $@ $(srcdir)/tests/faults/killed.c -ldl
tests/faults/fault.so: $(FAULT_MODULE) $(FAULT_FACES)
	$(AM_V_CCLD)$(MKDIR_P) tests/faults && \
	$(CC) -std=gnu11 -D_GNU_SOURCE $(P11_KIT_CFLAGS) -Wall -Wextra -O1 -fPIC -shared -o $@ \
	  $(srcdir)/tests/faults/cache.c $(srcdir)/tests/faults/control.c \
	  $(srcdir)/tests/faults/fault.c $(srcdir)/tests/faults/handles.c -ldl -lpthread
