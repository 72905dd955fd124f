# kekctl on a real control plane, by numbers, by hand: `make cluster-check KEK_KUBERNETES=FOLDER
# CLUSTER_FLAGS='--secrets 100000'`.  FOLDER is where the control plane's programs are, or are put: built from the Go
# module k8s.io/kubernetes, in minutes and with the network.
EXTRA_DIST += \
	tests/cluster/build.sh \
	tests/cluster/cluster_check.py \
	tests/cluster/control_plane.py \
	tests/cluster/measure.py \
	tests/cluster/kubernetes/go.mod \
	tests/cluster/kubernetes/go.sum

PHONY_TARGETS += cluster-check
cluster-check: all
	@test -n '$(KEK_KUBERNETES)' || { echo 'KEK_KUBERNETES=FOLDER is missing'; exit 2; }
	$(srcdir)/tests/cluster/build.sh '$(KEK_KUBERNETES)'
	abs_top_builddir='$(abs_top_builddir)' abs_top_srcdir='$(abs_top_srcdir)' KEK_KUBERNETES='$(KEK_KUBERNETES)' \
		$(PYTHON3) -B $(srcdir)/tests/cluster/cluster_check.py $(CLUSTER_FLAGS)
