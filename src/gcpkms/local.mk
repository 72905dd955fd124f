# The worker that asks Google Cloud KMS. Everything but main() is an archive, so that its tests link with it.
if BRIDGE
noinst_LIBRARIES += libkek-gcpkms.a
libkek_gcpkms_a_SOURCES = \
	src/gcpkms/ask.c \
	src/gcpkms/attest.c \
	src/gcpkms/chain.c \
	src/gcpkms/chain.h \
	src/gcpkms/crc32c.c \
	src/gcpkms/crc32c.h \
	src/gcpkms/credential.c \
	src/gcpkms/credential.h \
	src/gcpkms/fault.c \
	src/gcpkms/fault.h \
	src/gcpkms/fields.c \
	src/gcpkms/fields.h \
	src/gcpkms/file.c \
	src/gcpkms/file.h \
	src/gcpkms/gcp.h \
	src/gcpkms/grant.c \
	src/gcpkms/grant.h \
	src/gcpkms/jwt.c \
	src/gcpkms/jwt.h \
	src/gcpkms/message.c \
	src/gcpkms/message.h \
	src/gcpkms/name.c \
	src/gcpkms/name.h \
	src/gcpkms/officer.c \
	src/gcpkms/provider.c \
	src/gcpkms/session.c \
	src/gcpkms/statement.c \
	src/gcpkms/statement.h \
	src/gcpkms/verify.c \
	src/gcpkms/verify.h \
	src/gcpkms/versions.c \
	src/gcpkms/wrap.c
libkek_gcpkms_a_CFLAGS = $(AM_CFLAGS) $(PROTOBUF_C_CFLAGS) $(JANSSON_CFLAGS) $(ZLIB_CFLAGS)

GCPKMS_LIBS = libkek-gcpkms.a $(BRIDGE_LIBS) $(ZLIB_LIBS)

pkglibexec_PROGRAMS += kekd-gcpkms
kekd_gcpkms_SOURCES = src/gcpkms/main.c
kekd_gcpkms_CFLAGS = $(libkek_gcpkms_a_CFLAGS)
kekd_gcpkms_LDADD = $(GCPKMS_LIBS)

if HAVE_CHECK
check_PROGRAMS += tests/unit/test_gcpkms tests/unit/test_gcpkms_chain \
	tests/unit/test_gcpkms_statement
TESTS += tests/unit/test_gcpkms tests/unit/test_gcpkms_chain tests/unit/test_gcpkms_statement
tests_unit_test_gcpkms_chain_CFLAGS = $(UNIT_CFLAGS) -I$(top_srcdir)/src/gcpkms
tests_unit_test_gcpkms_chain_LDADD = $(GCPKMS_LIBS) $(UNIT_LIBS)
tests_unit_test_gcpkms_statement_CFLAGS = $(UNIT_CFLAGS) $(ZLIB_CFLAGS) -I$(top_srcdir)/src/gcpkms
tests_unit_test_gcpkms_statement_LDADD = $(GCPKMS_LIBS) $(UNIT_LIBS)
tests_unit_test_gcpkms_CFLAGS = $(UNIT_CFLAGS) $(PROTOBUF_C_CFLAGS) $(JANSSON_CFLAGS) \
	-I$(top_srcdir)/src/gcpkms
tests_unit_test_gcpkms_LDADD = $(GCPKMS_LIBS) $(UNIT_LIBS)
endif
endif
