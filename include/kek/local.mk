noinst_HEADERS += \
	include/kek/arena.h \
	include/kek/audit.h \
	include/kek/auto.h \
	include/kek/bytes.h \
	include/kek/clock.h \
	include/kek/config.h \
	include/kek/datakey.h \
	include/kek/descriptors.h \
	include/kek/durable.h \
	include/kek/envelope.h \
	include/kek/grpc.h \
	include/kek/kek.h \
	include/kek/keyring.h \
	include/kek/kms.h \
	include/kek/listen.h \
	include/kek/log.h \
	include/kek/login.h \
	include/kek/metrics.h \
	include/kek/notify.h \
	include/kek/pool.h \
	include/kek/provider.h \
	include/kek/rc.h \
	include/kek/rpc.h \
	include/kek/sandbox.h \
	include/kek/secret.h \
	include/kek/text.h \
	include/kek/wire.h
