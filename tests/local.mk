# Tests of the tree as a whole.
dist_check_SCRIPTS += tests/unit/test_circles.py tests/unit/test_failure_modes.py tests/unit/test_layers.py \
	tests/unit/test_pages.py tests/unit/test_without_bridge.py
TESTS += tests/unit/test_circles.py tests/unit/test_failure_modes.py tests/unit/test_layers.py \
	tests/unit/test_pages.py tests/unit/test_without_bridge.py

# How a file of any room is compiled, for tests that compile something. KEK_LIBEXECDIR loses its
# quotes on the way; nothing that is compiled so uses it.
check_DATA += tests/compile-command
CLEANFILES += tests/compile-command
LIBRARY_CFLAGS = $(PROTOBUF_C_CFLAGS) $(NGHTTP2_CFLAGS) $(P11_KIT_CFLAGS) $(YAML_CFLAGS) \
	$(JANSSON_CFLAGS) $(SMARTCOLS_CFLAGS) $(CURL_CFLAGS)
tests/compile-command: Makefile
	$(AM_V_GEN)$(MKDIR_P) tests && echo '$(COMPILE) $(LIBRARY_CFLAGS)' >$@
