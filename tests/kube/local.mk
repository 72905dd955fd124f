# Kubernetes' own code as a client.  It needs Go and etcd, and says so where they are missing.
TESTS += tests/kube/run.sh
EXTRA_DIST += \
	tests/kube/run.sh \
	tests/kube/go.mod \
	tests/kube/go.sum \
	tests/kube/apiserver_test.go \
	tests/kube/cluster_test.go \
	tests/kube/encrypted_object_test.go \
	tests/kube/etcd_test.go \
	tests/kube/golden_test.go \
	tests/kube/inventory_test.go \
	tests/kube/kube_test.go \
	tests/kube/phases_test.go \
	tests/kube/platforms_test.go \
	tests/kube/poll_test.go \
	tests/kube/schema_test.go \
	tests/kube/stored_test.go \
	tests/kube/stored.golden \
	tests/kube/recovery_test.go \
	tests/kube/rotation_test.go \
	tests/kube/trouble_test.go \
	tests/kube/apiserver/access.go \
	tests/kube/apiserver/main.go \
	tests/kube/apiserver/resources.go \
	tests/kube/apiserver/types.go \
	tests/kube/etcdbench/main.go \
	tests/kube/daemon/go.mod \
	tests/kube/daemon/daemon.go \
	tests/kube/oldgrpc/go.mod \
	tests/kube/oldgrpc/go.sum \
	tests/kube/oldgrpc/old_test.go

# What tests/interop/apiserver.py builds when a test asks for it.
CLEANFILES += tests/kube/kube-apiserver tests/kube/go.lock
