"""A real control plane on loopback: kube-apiserver and kube-controller-manager, on the etcd and the kekds of
tests/interop/apiserver.py's Cluster.

    control_plane.need()                                 # KEK_KUBERNETES: the folder that build.sh filled
    cluster = control_plane.Cluster(case, servers=2).start()
    manager = cluster.controller_manager().start()       # of the garbage collector and StorageVersionMigration

Its kubectl is the one of KEK_KUBECTL, else that in PATH."""

import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "interop"))
import apiserver  # noqa: E402
import etcd_server  # noqa: E402

FOLDER = os.environ.get("KEK_KUBERNETES", "")
KUBECTL = os.environ.get("KEK_KUBECTL", "kubectl")


def need():
    etcd_server.need()
    for program in ("kube-apiserver", "kube-controller-manager"):
        if not os.access(os.path.join(FOLDER, program), os.X_OK):
            sys.exit("KEK_KUBERNETES names no folder with %s: tests/cluster/build.sh FOLDER makes one" % program)
    apiserver.PROGRAM[:] = [os.path.join(FOLDER, "kube-apiserver")]


class ApiServer(apiserver.ApiServer):
    def command(self):
        small = super().command()
        keys = self.cluster.accounts
        # Those are of the small one alone.
        ours = [option for option in small if not option.startswith(("--deny=", "--refuse="))]
        return ours + [
            "--authorization-mode=RBAC", "--service-cluster-ip-range=10.0.0.0/24",
            "--advertise-address=192.0.2.1", "--endpoint-reconciler-type=none",  # nobody is to find it
            "--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=" + keys[0],
            "--service-account-signing-key-file=" + keys[1], "--profiling=false"]


class ControllerManager(etcd_server.Server):
    def __init__(self, case, cluster, controllers):
        super().__init__(case, "controller-manager")
        self.controllers = controllers
        self.kubeconfig = cluster.kubeconfig(user="system:kube-controller-manager")

    def command(self):
        return [os.path.join(FOLDER, "kube-controller-manager"), "--kubeconfig=" + self.kubeconfig,
                "--controllers=" + ",".join(self.controllers), "--secure-port=0", "--leader-elect=false",
                "--use-service-account-credentials=false"]

    def start(self):
        return self.spawn()


class Cluster(apiserver.Cluster):
    program = ApiServer

    def __init__(self, case, **options):
        super().__init__(case, **options)
        self.accounts = self.ca.issue("/CN=service-accounts", name="service-accounts")

    def controller_manager(self, *controllers):
        return ControllerManager(self.case, self, controllers or (
            "garbage-collector-controller", "storage-version-migrator-controller"))

    def kubectl(self, *arguments, **options):
        return subprocess.run([KUBECTL, "--kubeconfig=" + self.kubeconfig(), *arguments], check=False, **options)
