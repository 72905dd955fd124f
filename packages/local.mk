# What packages are made of, by debian/ and by kekd.spec, out of the tarball that holds them.
EXTRA_DIST += \
	debian/changelog \
	debian/control \
	debian/copyright \
	debian/kekd-bridge.install \
	debian/kekd.install \
	debian/kekd.postinst \
	debian/kekd.postrm \
	debian/kekd.prerm \
	debian/kekd.triggers \
	debian/rules \
	debian/source/format \
	packages/image/Containerfile \
	packages/image/assemble.sh \
	packages/kekd.spec
