/* Where an etcd key belongs. */
#include "suite.h"

#include "kek/kube.h"

#include <string.h>

struct row {
    const char *key, *resource, *ns, *name;
    bool group_unknown, never_encrypted;
};

static const struct row rows[] = {
    {"/registry/secrets/default/a", "secrets", "default", "a", false, false},
    {"/registry/configmaps/kube-system/b", "configmaps", "kube-system", "b", false, false},
    {"/registry/namespaces/default", "namespaces", "", "default", false, false},
    {"/registry/minions/node-1", "nodes", "", "node-1", false, false},
    {"/registry/controllers/ns/rc", "replicationcontrollers", "ns", "rc", false, false},
    {"/registry/services/specs/ns/web", "services", "ns", "web", false, false},
    {"/registry/services/endpoints/ns/web", "endpoints", "ns", "web", false, false},
    {"/registry/ingress/ns/web", "ingresses.networking.k8s.io", "ns", "web", false, false},
    {"/registry/deployments/ns/web", "deployments.apps", "ns", "web", false, false},
    {"/registry/clusterroles/system:node", "clusterroles.rbac.authorization.k8s.io", "",
     "system:node", false, false},
    {"/registry/events/ns/e.17", "events", "ns", "e.17", false, false},
    {"/registry/workloads/ns/w", "workloads.scheduling.k8s.io", "ns", "w", false, false},
    {"/registry/configmaps/ns/name.with.dots", "configmaps", "ns", "name.with.dots", false, false},
    {"/registry/apiregistration.k8s.io/apiservices/v1.apps", "apiservices.apiregistration.k8s.io",
     "", "v1.apps", false, false},
    {"/registry/apiextensions.k8s.io/customresourcedefinitions/things.example.com",
     "customresourcedefinitions.apiextensions.k8s.io", "", "things.example.com", false, false},
    {"/registry/group.example.com/things/ns/one", "things.group.example.com", "ns", "one", false,
     false},
    {"/registry/group.example.com/things/one", "things.group.example.com", "", "one", false, false},
    {"/registry/group.example.com/secrets/ns/one", "secrets.group.example.com", "ns", "one", false,
     false},
    {"/registry/extra/things/ns/one", "things.extra", "ns", "one", false, false},
    {"/registry/brandnews/ns/one", "brandnews", "ns", "one", true, false},
    {"/registry/brandnews/one", "brandnews", "", "one", true, false},
    {"/registry/masterleases/10.0.0.1", "masterleases", "", "10.0.0.1", false, true},
    {"/registry/peerserverleases/apiserver-x", "peerserverleases", "", "apiserver-x", false, true},
    {"/registry/ranges/serviceips", "ranges", "", "serviceips", false, true},
    {"/registry/ranges/servicenodeports", "ranges", "", "servicenodeports", false, true},
};

static void is(struct kek_bytes bytes, const char *text)
{
    ck_assert_msg(kek_bytes_equal(bytes, kek_bytes_of(text)), "\"%.*s\" is not \"%s\"",
                  (int)bytes.len, (const char *)bytes.data, text);
}

START_TEST(each_place_is_told)
{
    const struct row *row = &rows[_i];
    struct kek_kube_name name;
    char resource[128];
    ck_assert(kek_kube_name(kek_bytes_of(row->key), kek_bytes_of("/registry"), &name));
    ck_assert_uint_eq(kek_kube_resource(&name, resource, sizeof resource), strlen(row->resource));
    ck_assert_str_eq(resource, row->resource);
    is(name.ns, row->ns);
    is(name.name, row->name);
    ck_assert_int_eq(name.group_unknown, row->group_unknown);
    ck_assert_int_eq(name.never_encrypted, row->never_encrypted);
}
END_TEST

START_TEST(resource_and_group_are_told_apart)
{
    struct kek_kube_name name;
    char cut[8];
    ck_assert(kek_kube_name(kek_bytes_of("/registry/example.com/things/ns/one"),
                            kek_bytes_of("/registry"), &name));
    is(name.resource, "things");
    is(name.group, "example.com");
    ck_assert_uint_eq(kek_kube_resource(&name, cut, sizeof cut), strlen("things.example.com"));
    ck_assert_str_eq(cut, "things.");
}
END_TEST

static const struct {
    const char *prefix, *key;
} prefixes[] = {
    {"/registry", "/registry/secrets/ns/a"},
    {"registry", "/registry/secrets/ns/a"},
    {"/registry/", "/registry/secrets/ns/a"},
    {"/kubernetes.io", "/kubernetes.io/secrets/ns/a"},
    {"/prod/eu/1", "/prod/eu/1/secrets/ns/a"},
    {"", "/secrets/ns/a"},
    {"/", "/secrets/ns/a"},
    {"/secrets", "/secrets/secrets/ns/a"},
};

START_TEST(every_prefix_is_taken)
{
    struct kek_kube_name name;
    ck_assert(
        kek_kube_name(kek_bytes_of(prefixes[_i].key), kek_bytes_of(prefixes[_i].prefix), &name));
    is(name.resource, "secrets");
    is(name.ns, "ns");
    is(name.name, "a");
}
END_TEST

static const char *const no_objects[] = {
    "",
    "/",
    "/registry",
    "/registry/",
    "/registry/secrets",
    "/registry/secrets/",
    "/registry/secrets//a",
    "/registry//secrets/a",
    "/registry/secrets/ns/a/",
    "/registry/secrets/ns/a/b",
    "/registry/secrets/ns/a/b/c",
    "/registry/services/specs",
    "/registry/example.com/things",
    "/registryx/secrets/ns/a",
    "/registryxsecrets/ns/a",
    "/registr/secrets/ns/a",
    "registry/secrets/ns/a",
    "/other/secrets/ns/a",
    "compact_rev_key",
};

START_TEST(what_is_no_object_is_refused_and_nothing_is_written)
{
    struct kek_kube_name name;
    struct kek_kube_name before;
    memset(&name, 0x77, sizeof name);
    memcpy(&before, &name, sizeof name);
    ck_assert(!kek_kube_name(kek_bytes_of(no_objects[_i]), kek_bytes_of("/registry"), &name));
    ck_assert(memcmp(&before, &name, sizeof name) == 0);
}
END_TEST

/* The table is searched by halves: one row out of order would hide others. */
START_TEST(a_folder_that_begins_as_another_is_another)
{
    struct kek_kube_name name;
    ck_assert(
        kek_kube_name(kek_bytes_of("/registry/secret/ns/a"), kek_bytes_of("/registry"), &name));
    ck_assert(name.group_unknown);
    ck_assert(
        kek_kube_name(kek_bytes_of("/registry/secretss/ns/a"), kek_bytes_of("/registry"), &name));
    ck_assert(name.group_unknown);
}
END_TEST

START_TEST(what_kubernetes_stores_is_known_by_its_name)
{
    static const struct {
        const char *resource;
        bool known, custom;
    } names[] = {{"secrets", true, false},
                 {"nodes", true, false},
                 {"services", true, false},
                 {"deployments.apps", true, false},
                 {"secret", false, false},
                 {"secretss", false, false},
                 {"minions", false, false},
                 {"deployments", false, false},
                 {"deployment.apps", false, false},
                 {"deployments.app", false, false},
                 {"secrets.v1", false, false},
                 {"secrets.example.com", false, true},
                 {"things.example.com", false, true},
                 {"certificates.certificates.k8s.io", false, false}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        bool custom = false;
        ck_assert_msg(kek_kube_is_known(names[i].resource, &custom) == names[i].known, "%s",
                      names[i].resource);
        ck_assert_msg(names[i].known || custom == names[i].custom, "%s", names[i].resource);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kube name");
    TCase *tests = tcase_create("name");
    tcase_add_loop_test(tests, each_place_is_told, 0, sizeof rows / sizeof rows[0]);
    tcase_add_test(tests, resource_and_group_are_told_apart);
    tcase_add_loop_test(tests, every_prefix_is_taken, 0, sizeof prefixes / sizeof prefixes[0]);
    tcase_add_loop_test(tests, what_is_no_object_is_refused_and_nothing_is_written, 0,
                        sizeof no_objects / sizeof no_objects[0]);
    tcase_add_test(tests, a_folder_that_begins_as_another_is_another);
    tcase_add_test(tests, what_kubernetes_stores_is_known_by_its_name);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
