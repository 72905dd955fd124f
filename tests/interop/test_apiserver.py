#!/usr/bin/env python3
"""The small cluster that other tests use does what a Kubernetes cluster does: tests/interop/apiserver.py."""

import os

import apiserver
import rig as rigs

apiserver.need()

PREFIX = {"v1": b"k8s:enc:kms:v1:kekd-v1:", "v2": b"k8s:enc:kms:v2:kekd:"}
METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
SECRETS = "/registry/secrets/default/"


class SmallCluster(rigs.Case):
    def both(self, rules, **options):
        cluster = apiserver.Cluster(self, rules=rules, **options).start()
        return cluster, cluster.servers[0]

    def test_a_cluster_serves_stores_and_forgets(self):
        cluster, first = self.both(lambda socket: [
            (["secrets", "widgets.kekd.example"], [apiserver.kms(socket), {"identity": {}}]),
            (["configmaps"], [apiserver.kms(socket, "kekd-v1", "v1"), {"identity": {}}])], servers=2, secure=True)
        cluster.fill(7, namespaces=("default", "other"))
        cluster.create("configmaps", "a", {"k": "v"})
        cluster.create("widgets.kekd.example", "w", {"size": 3})
        cluster.create("namespaces", "default", None)
        lies = cluster.etcd.values()
        self.assertEqual(len(lies), 10, sorted(lies))
        for key, begins in (("secrets/other/object-000001", PREFIX["v2"]), ("configmaps/default/a", PREFIX["v1"]),
                            ("kekd.example/widgets/default/w", PREFIX["v2"]), ("namespaces/default", b"k8s\0")):
            self.assertTrue(lies["/registry/" + key].value.startswith(begins), key)
        self.assertEqual(cluster.get("widgets.kekd.example", "w", server=1)["spec"], {"size": 3})

        # Pages, metadata alone, by a token.
        status, page = first.call("GET", cluster.at("secrets", namespace="", query="?limit=5"), accept=METADATA,
                                  token="token-of-admin")
        self.assertEqual((status, page["kind"], len(page["items"])), (200, "PartialObjectMetadataList", 5))
        self.assertNotIn("data", page["items"][0])
        _, rest = first.call("GET", cluster.at("secrets", namespace="", query="?limit=5&continue="
                                               + page["metadata"]["continue"]))
        self.assertEqual(len(rest["items"]), 2)
        self.assertEqual(first.call("GET", "/api/v1/secrets", token="another")[0], 401)

        # A no-op patch writes nothing while the key is the newest, and is held to what it was made for.
        made = cluster.get("secrets", "object-000000")["metadata"]
        held = {"metadata": {"uid": made["uid"], "resourceVersion": made["resourceVersion"]}}
        self.assertEqual(cluster.patch("secrets", "object-000000", held)["metadata"]["resourceVersion"],
                         made["resourceVersion"])
        self.assertEqual(cluster.etcd.values(SECRETS)[SECRETS + "object-000000"].version, 1)
        for wrong, code in (({"resourceVersion": "1"}, 409), ({"uid": "another"}, 422)):
            status, _ = first.call("PATCH", cluster.at("secrets", "object-000000"),
                                   {"metadata": dict(held["metadata"], **wrong)}, kind="application/merge-patch+json")
            self.assertEqual(status, code, wrong)
        cluster.stop()

    def test_it_refuses_what_it_is_told_to_and_survives_the_loss_of_a_piece(self):
        cluster, first = self.both(lambda socket: [(["secrets"], [{"identity": {}}, apiserver.kms(socket)])])
        cluster.fill(3)
        cluster.deny("bob patch secrets", "* list configmaps")
        cluster.refuse("secrets default/object-000001 422", "widgets.kekd.example * 500")

        def patched(name, **options):
            return first.call("PATCH", cluster.at("secrets", name), {"metadata": {"labels": {"a": "b"}}},
                              kind="application/merge-patch+json", **options)[0]
        self.assertEqual([patched("object-000000", user="bob"), patched("object-000000"), patched("object-000001"),
                          patched("object-000009")], [403, 200, 422, 404])
        self.assertEqual(first.call("POST", cluster.at("widgets.kekd.example"),
                                    cluster.content("widgets.kekd.example", "w", None))[0], 500)
        self.assertEqual(first.call("GET", "/api/v1/configmaps")[0], 403)
        cluster.deny()
        cluster.refuse()
        self.assertEqual(patched("object-000001", user="bob"), 200)

        # From plaintext to KMS: an update that changes nothing rewrites.
        cluster.reencryption(lambda socket: [(["secrets"], [apiserver.kms(socket), {"identity": {}}])])
        version = cluster.etcd.values(SECRETS)[SECRETS + "object-000002"].version
        cluster.patch("secrets", "object-000002", {"metadata": {"labels": None}})
        value = cluster.etcd.values(SECRETS)[SECRETS + "object-000002"]
        self.assertEqual((value.version, value.value.startswith(PREFIX["v2"])), (version + 1, True))

        self.assertIn("[+]kms-providers ok", first.readyz()[1])
        cluster.kekd.kill()
        cluster.kekd.start()
        cluster.etcd.restart()
        rigs.wait_for(lambda: first.call("GET", cluster.at("secrets", "object-000002"))[0] == 200, "etcd to be found")

        with open(cluster.kubeconfig(inline=True), encoding="ascii") as file:
            self.assertIn("client-key-data", file.read())
        folders = [cluster.folder, cluster.etcd.folder, first.folder]
        cluster.stop()
        cluster.kekd.cleanup(self)
        for piece in (cluster.etcd, first):
            piece.cleanup(self)
        self.assertFalse([folder for folder in folders if os.path.exists(folder)])


if __name__ == "__main__":
    rigs.main()
