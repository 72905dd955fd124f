# Alerts by promtool, and the dashboard by a Prometheus and by Grafana's schema.
MONITORING_TESTS = \
	tests/monitoring/test_alerts.py \
	tests/monitoring/test_dashboard.py
dist_check_SCRIPTS += $(MONITORING_TESTS)
TESTS += $(MONITORING_TESTS)
EXTRA_DIST += \
	tests/monitoring/picture.py \
	tests/monitoring/watched.py \
	tests/monitoring/schema/go.mod \
	tests/monitoring/schema/go.sum \
	tests/monitoring/schema/main.go
CLEANFILES += tests/monitoring/dashboard-schema

# docs/dashboard.svg anew, in some three minutes.
PHONY_TARGETS += picture
picture: all
	$(AM_TESTS_ENVIRONMENT) $(PYTHON3) -B $(srcdir)/tests/monitoring/picture.py
