# Units, and the user and folders that they need, are installed; the rest are examples for /usr/share/doc.
sysusersdir = $(prefix)/lib/sysusers.d
tmpfilesdir = $(prefix)/lib/tmpfiles.d
exampledir = $(docdir)/examples

systemdsystemunit_DATA = deploy/kekd.service deploy/kekd.socket deploy/kekd-rotate.service deploy/kekd-rotate.timer
dist_example_DATA = \
	deploy/encryption-configuration.yaml \
	deploy/grafana-dashboard.json \
	deploy/kekd.logrotate \
	deploy/prometheus-rules.yaml \
	deploy/reencrypt-rbac.yaml \
	deploy/static-pod.yaml
pkglibexec_SCRIPTS = deploy/restart-if-well
EXTRA_DIST += deploy/restart-if-well.in deploy/kekd.service.in deploy/kekd.socket deploy/kekd-rotate.service.in deploy/kekd-rotate.timer \
	deploy/kekd.sysusers deploy/kekd.tmpfiles.in
noinst_DATA = deploy/kekd.tmpfiles
CLEANFILES += deploy/kekd.service deploy/kekd-rotate.service deploy/kekd.tmpfiles deploy/restart-if-well

fill_in_paths = $(AM_V_GEN)$(MKDIR_P) deploy && \
	sed -e 's|[@]sbindir[@]|$(sbindir)|g' -e 's|[@]bindir[@]|$(bindir)|g' -e 's|[@]sysconfdir[@]|$(sysconfdir)|g'

deploy/kekd.service: deploy/kekd.service.in Makefile
	$(fill_in_paths) $(srcdir)/deploy/kekd.service.in > $@
deploy/kekd-rotate.service: deploy/kekd-rotate.service.in Makefile
	$(fill_in_paths) $(srcdir)/deploy/kekd-rotate.service.in > $@
deploy/restart-if-well: deploy/restart-if-well.in Makefile
	$(fill_in_paths) $(srcdir)/deploy/restart-if-well.in > $@ && chmod +x $@
deploy/kekd.tmpfiles: deploy/kekd.tmpfiles.in Makefile
	$(fill_in_paths) $(srcdir)/deploy/kekd.tmpfiles.in > $@

# sysusers.d(5) and tmpfiles.d(5) want the suffix .conf.
install-data-local: deploy/kekd.tmpfiles
	$(MKDIR_P) '$(DESTDIR)$(sysusersdir)' '$(DESTDIR)$(tmpfilesdir)'
	$(INSTALL_DATA) $(srcdir)/deploy/kekd.sysusers '$(DESTDIR)$(sysusersdir)/kekd.conf'
	$(INSTALL_DATA) deploy/kekd.tmpfiles '$(DESTDIR)$(tmpfilesdir)/kekd.conf'
# Whoever installs into the running system, and not into a package's folder, is told what a package would do.
install-data-hook: link-pages
	@test -n '$(DESTDIR)' || echo \
	  'kekd is installed. Next, as root: systemd-sysusers kekd.conf && systemd-tmpfiles --create kekd.conf'
uninstall-local:
	rm -f '$(DESTDIR)$(sysusersdir)/kekd.conf' '$(DESTDIR)$(tmpfilesdir)/kekd.conf'

# ---- the deployment files' tests ----
dist_check_SCRIPTS += tests/unit/deploy.sh tests/interop/test_install.py
TESTS += tests/unit/deploy.sh tests/interop/test_install.py
