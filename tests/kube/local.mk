# Kubernetes' own code as a client.  It needs Go and etcd, and says so where they are missing.
TESTS += tests/kube/run.sh
EXTRA_DIST += \
	tests/kube/run.sh \
	tests/kube/go.mod \
	tests/kube/go.sum \
	tests/kube/apiserver_test.go \
	tests/kube/cluster_test.go \
	tests/kube/etcd_test.go \
	tests/kube/kube_test.go \
	tests/kube/poll_test.go \
	tests/kube/schema_test.go \
	tests/kube/recovery_test.go \
	tests/kube/rotation_test.go \
	tests/kube/trouble_test.go \
	tests/kube/etcdbench/main.go \
	tests/kube/daemon/go.mod \
	tests/kube/daemon/daemon.go \
	tests/kube/oldgrpc/go.mod \
	tests/kube/oldgrpc/go.sum \
	tests/kube/oldgrpc/old_test.go
