module kekd.example/tests/kube/daemon

go 1.20
