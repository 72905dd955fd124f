# The pages, for whoever has the program and not its sources; the manual pages stand with their rooms.
dist_doc_DATA = \
	NEWS \
	README.md \
	SECURITY.md \
	docs/architecture.md \
	docs/cloud-hsm.md \
	docs/dashboard.svg \
	docs/disaster.md \
	docs/encryption.md \
	docs/envelope-format.md \
	docs/evidence.md \
	docs/failure-modes.md \
	docs/first-hour.md \
	docs/kube-storage.md \
	docs/openbao.md \
	docs/operations.md \
	docs/platforms.md \
	docs/provider-protocol.md \
	docs/recovery.md \
	docs/roots.md \
	docs/threat-model.md \
	proto/provider.proto

# They lie in one folder there, and name each other so; what is elsewhere, as manual pages are, is a name without a link.
link-pages: install-dist_docDATA
	cd '$(DESTDIR)$(docdir)' && for page in *.md; do \
	  sed -E -e 's,\]\((docs|\.\.|\.\./proto)/,](,g' \
	    -e 's,\[([^]]*)\]\((LICENSE|CONTRIBUTING\.md|[a-z0-9.-]+\.[1-8])(#[^)]*)?\),\1,g' "$$page" >"$$page.linked" && \
	  cat "$$page.linked" >"$$page" && rm "$$page.linked" || exit 1; done
.PHONY: link-pages
