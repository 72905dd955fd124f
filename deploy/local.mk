# Units and the user they need are installed; the rest are examples for /usr/share/doc.
sysusersdir = $(prefix)/lib/sysusers.d
exampledir = $(docdir)/examples

systemdsystemunit_DATA = deploy/kekd.service deploy/kekd.socket
dist_example_DATA = \
	deploy/encryption-configuration.yaml \
	deploy/kekd.logrotate \
	deploy/prometheus-rules.yaml \
	deploy/static-pod.yaml
EXTRA_DIST += deploy/kekd.service.in deploy/kekd.socket deploy/kekd.sysusers
CLEANFILES += deploy/kekd.service

deploy/kekd.service: deploy/kekd.service.in Makefile
	$(AM_V_GEN)$(MKDIR_P) deploy && \
	sed -e 's|[@]sbindir[@]|$(sbindir)|g' -e 's|[@]sysconfdir[@]|$(sysconfdir)|g' \
	  $(srcdir)/deploy/kekd.service.in > $@

# sysusers.d(5) wants the suffix .conf.
install-data-local:
	$(MKDIR_P) '$(DESTDIR)$(sysusersdir)'
	$(INSTALL_DATA) $(srcdir)/deploy/kekd.sysusers '$(DESTDIR)$(sysusersdir)/kekd.conf'
uninstall-local:
	rm -f '$(DESTDIR)$(sysusersdir)/kekd.conf'

# ---- the deployment files' test ----
dist_check_SCRIPTS += tests/unit/deploy.sh
TESTS += tests/unit/deploy.sh
