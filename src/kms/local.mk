noinst_LIBRARIES += libkek-kms.a
libkek_kms_a_SOURCES = \
	src/kms/call.c \
	src/kms/call.h \
	src/kms/follow.c \
	src/kms/kms.c \
	src/kms/message.c \
	src/kms/open.c \
	src/kms/seal.c \
	src/kms/status.c \
	src/kms/strings.c
libkek_kms_a_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src $(PROTOBUF_C_CFLAGS)
