# The messages, generated at build time. Their code is not ours: no warnings asked of it.
proto_files = proto/kms_v1beta1.proto proto/kms_v2.proto proto/provider.proto
proto_c = $(proto_files:.proto=.pb-c.c)
proto_h = $(proto_files:.proto=.pb-c.h)

EXTRA_DIST += $(proto_files)
BUILT_SOURCES += $(proto_h)
CLEANFILES += $(proto_c) $(proto_h)

noinst_LIBRARIES += libkek-proto.a
nodist_libkek_proto_a_SOURCES = \
	proto/kms_v1beta1.pb-c.c \
	proto/kms_v2.pb-c.c \
	proto/provider.pb-c.c
libkek_proto_a_CFLAGS = $(AM_CFLAGS) $(PROTOBUF_C_CFLAGS) -w

proto/%.pb-c.c proto/%.pb-c.h &: proto/%.proto
	$(AM_V_GEN)$(MKDIR_P) proto && \
	$(PROTOC_C) --c_out=proto --proto_path=$(srcdir)/proto $(srcdir)/proto/$*.proto
