# The Debian package; dpkg-buildpackage needs nothing of this, make dist does.
EXTRA_DIST += \
	debian/changelog debian/control debian/copyright debian/libzerollama-dev.install debian/libzerollama0.install \
	debian/libzerollama0.symbols debian/not-installed debian/rules debian/source/format debian/zerollama.install \
	debian/zerollama-cuda.install debian/zerollama.postinst debian/zerollama.postrm debian/zerollama.prerm
