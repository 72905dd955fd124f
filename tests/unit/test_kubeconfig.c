/* Kubeconfigs: what is taken of them, and what is said of those that cannot be used. */
#include "suite.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "kek/kubeapi.h"

/* "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n", and of a PRIVATE KEY. */
#define CERT "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCkFBPT0KLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo="
#define KEY "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCkFBPT0KLS0tLS1FTkQgUFJJVkFURSBLRVktLS0tLQo="

#define CLUSTER "server: https://10.0.0.1:6443/, certificate-authority-data: " CERT
#define USER "client-certificate-data: " CERT ", client-key-data: " KEY

static char file[8192];

static const char *with(const char *cluster, const char *user)
{
    snprintf(file, sizeof file,
             "apiVersion: v1\nkind: Config\ncurrent-context: admin@a\n"
             "contexts:\n- name: admin@a\n  context: {cluster: a, user: admin}\n"
             "- name: other\n  context: {cluster: a, user: nobody}\n"
             "clusters:\n- name: a\n  cluster: {%s}\n"
             "users:\n- name: admin\n  user: {%s}\n",
             cluster, user);
    return file;
}

static struct kek_kubeconfig *parse(const char *yaml, struct kek_why *why)
{
    why->text[0] = '\0';
    return kek_kubeconfig_parse(kek_bytes_of(yaml), "/etc/k/admin.conf", NULL, why);
}

static struct kek_kubeconfig *good(const char *cluster, const char *user)
{
    struct kek_why why;
    struct kek_kubeconfig *config = parse(with(cluster, user), &why);
    ck_assert_msg(config != NULL, "%s", why.text);
    return config;
}

START_TEST(inline_data_is_decoded)
{
    KEK_AUTO(kek_kubeconfig) config = good(CLUSTER, USER);
    ck_assert_str_eq(config->server, "https://10.0.0.1:6443");
    ck_assert_str_eq(config->context, "admin@a");
    ck_assert_ptr_null(config->proxy);
    ck_assert_ptr_null(config->server_name);
    ck_assert_uint_eq(config->ca.len, 59);
    ck_assert(memcmp(config->cert.data, "-----BEGIN CERT", 15) == 0);
    ck_assert(config->key != NULL && kek_secret_bytes(config->key).len == 59);
    ck_assert_ptr_null(config->token);
}
END_TEST

START_TEST(paths_are_of_the_kubeconfigs_folder)
{
    KEK_AUTO(kek_kubeconfig)
    config = good("server: https://a:1, certificate-authority: pki/ca.crt, tls-server-name: kube, "
                  "proxy-url: 'socks5://127.0.0.1:1080'",
                  "client-certificate: /abs/c.pem, client-key: k.pem, tokenFile: ../token");
    ck_assert_str_eq(config->ca_file, "/etc/k/pki/ca.crt");
    ck_assert_str_eq(config->cert_file, "/abs/c.pem");
    ck_assert_str_eq(config->key_file, "/etc/k/k.pem");
    ck_assert_str_eq(config->token_file, "/etc/k/../token");
    ck_assert_str_eq(config->server_name, "kube");
    ck_assert_str_eq(config->proxy, "socks5://127.0.0.1:1080");
}
END_TEST

START_TEST(json_is_yaml_and_a_token_is_enough)
{
    struct kek_why why;
    KEK_AUTO(kek_kubeconfig)
    config = parse("{\"current-context\":\"x\",\"contexts\":[{\"name\":\"x\",\"context\":"
                   "{\"cluster\":\"c\",\"user\":\"u\"}}],\"clusters\":[{\"name\":\"c\",\"cluster\":"
                   "{\"server\":\"https://[fd00::1]:6443\"}}],\"users\":[{\"name\":\"u\",\"user\":"
                   "{\"token\":\"secret-token\"}}]}",
                   &why);
    ck_assert_msg(config != NULL, "%s", why.text);
    ck_assert_uint_eq(kek_secret_bytes(config->token).len, 12);
    ck_assert(config->ca.len == 0 && config->ca_file == NULL); /* the system's */
}
END_TEST

START_TEST(http_is_for_this_machine_without_credentials)
{
    KEK_AUTO(kek_kubeconfig) config = good("server: 'http://127.0.0.1:8001'", "");
    ck_assert_str_eq(config->server, "http://127.0.0.1:8001");
}
END_TEST

static const struct wrong {
    const char *cluster, *user, *says;
} wrong[] = {
    {"", USER, "the cluster has no server"},
    {"server: 10.0.0.1:6443", USER, "server: expected https://HOST:PORT"},
    {"server: 'http://10.0.0.1:6443'", "", "http is for 127.0.0.1"},
    {"server: 'http://127.0.0.1:1'", "token: t", "not sent over http"},
    {"server: 'http://127.example.com:1'", "", "http is for 127.0.0.1"},
    {"server: 'http://[::1].example.com'", "", "http is for 127.0.0.1"},
    {"server: 'https://u:hunter2@a'", USER, "server: expected https://HOST:PORT, and no more"},
    {"server: 'https://a', insecure-skip-tls-verify: true", USER, "set certificate-authority-data"},
    {"server: 'https://a', proxy-url: 'file:///x'", USER, "proxy-url: expected http://"},
    {"server: 'https://a', certificate-authority-data: '%%%'", USER,
     "certificate-authority-data: this is no base64"},
    {"server: 'https://a', certificate-authority-data: aGVsbG8=", USER,
     "certificate-authority-data: there is no CERTIFICATE in PEM in it"},
    {"server: 'https://a', certificate-authority-data: aGVsbG8", USER, "no base64"},
    {"server: [https]", USER, "server: expected a text"},
    {"server: 'https://a', server: 'https://b'", USER, "server is here twice"},
    {CLUSTER, "", "user \"admin\" has neither a client certificate nor a token"},
    {CLUSTER, "exec: {command: aws}", "from a program (exec), which is not run here: use a client"},
    {CLUSTER, "auth-provider: {name: oidc}", "has an auth-provider"},
    {CLUSTER, "username: a, password: hunter2", "has a username and password"},
    {CLUSTER, "token: t, as: root", "acts as somebody else (as)"},
    {CLUSTER, "client-certificate-data: " CERT, "a client-certificate and no client-key"},
    {CLUSTER, "client-key: k.pem", "a client-key and no client-certificate"},
    {CLUSTER, "client-certificate-data: " CERT ", client-key-data: " CERT,
     "client-key-data: there is no PRIVATE KEY"},
    {CLUSTER, "token: 'hunter2 and more'", "token: expected one word"},
    {CLUSTER, "token: {a: b}", "token: expected a text"},
};

START_TEST(what_cannot_be_used_says_why)
{
    struct kek_why why;
    ck_assert_ptr_null(parse(with(wrong[_i].cluster, wrong[_i].user), &why));
    ck_assert_int_eq(why.rc, KEK_INVALID);
    ck_assert_msg(strstr(why.text, wrong[_i].says) != NULL, "%s", why.text);
    ck_assert_msg(strncmp(why.text, "/etc/k/admin.conf:", 18) == 0, "%s", why.text);
    ck_assert_msg(strstr(why.text, "hunter2") == NULL, "%s", why.text);
}
END_TEST

static const struct {
    const char *yaml, *says;
} broken[] = {
    {"", "admin.conf:1:1: expected a mapping, found nothing"},
    {"[a", "admin.conf:2:1: not YAML"},
    {"a: \xff\xff", "admin.conf:1:4: not UTF-8 text"},
    {"a: &b 1\n", "admin.conf:1:4: anchors (&) are not accepted"},
    {"- a\n", "expected a mapping"},
    {"a: 1\ncurrent-context: [x]\n", "admin.conf:2:18: current-context: expected a text"},
    {"contexts: []\n", "there is no current-context: name one by --kube-context"},
    {"current-context: x\n", "contexts: none is called \"x\""},
    {"current-context: x\ncontexts: {}\n", "contexts: expected a list"},
    {"current-context: x\ncontexts:\n- name: x\n", "contexts: \"x\" has no context"},
    {"current-context: x\ncontexts:\n- {name: x, context: {cluster: a}}\n", "names no user"},
    {"current-context: x\ncontexts:\n- {name: x, context: {user: a}}\n", "names no cluster"},
    {"current-context: x\ncontexts:\n- {name: x, context: {cluster: a, user: b}}\n",
     "clusters: none is called \"a\""},
    {"current-context: x\ncontexts:\n- {name: x, context: {cluster: a, user: b}}\n"
     "- {name: x, context: {cluster: a, user: b}}\n",
     "contexts: two are called \"x\": rename one"},
    {"current-context: x\ncontexts:\n- {name: x, context: {cluster: a, user: b}}\n"
     "clusters:\n- {name: a, cluster: {server: 'https://a'}}\n",
     "users: none is called \"b\""},
};

START_TEST(what_is_broken_says_where)
{
    struct kek_why why;
    ck_assert_ptr_null(parse(broken[_i].yaml, &why));
    ck_assert_int_eq(why.rc, KEK_INVALID);
    ck_assert_msg(strstr(why.text, broken[_i].says) != NULL, "%s", why.text);
}
END_TEST

START_TEST(another_context_is_taken_by_its_name)
{
    struct kek_why why;
    const char *yaml = with(CLUSTER, USER);
    ck_assert_ptr_null(kek_kubeconfig_parse(kek_bytes_of(yaml), "f", "other", &why));
    ck_assert_msg(strstr(why.text, "users: none is called \"nobody\"") != NULL, "%s", why.text);
    ck_assert_ptr_null(kek_kubeconfig_parse(kek_bytes_of(yaml), "f", "nowhere", &why));
    ck_assert_msg(strstr(why.text, "contexts: none is called \"nowhere\"") != NULL, "%s", why.text);
}
END_TEST

/* Tools keep what they like in `extensions`; a fleet has one kubeconfig for hundreds of clusters. */
START_TEST(a_kubeconfig_may_be_deep_and_long)
{
    KEK_AUTO_BUF struct kek_buf yaml;
    struct kek_why why;
    char item[64];
    const char *head = "current-context: c1999\npreferences: [[[[[[[[[[[[[[1]]]]]]]]]]]]]]\n"
                       "users: [{name: u, user: {token: t}}]\n"
                       "clusters: [{name: c, cluster: {server: 'https://a'}}]\ncontexts:\n";
    kek_buf_init(&yaml, KEK_KUBECONFIG_MAX);
    ck_assert_int_eq(kek_buf_append(&yaml, kek_bytes_of(head), &why), KEK_OK);
    for (unsigned i = 0; i < 2000; i++) {
        snprintf(item, sizeof item, "- {name: c%u, context: {cluster: c, user: u}}\n", i);
        ck_assert_int_eq(kek_buf_append(&yaml, kek_bytes_of(item), &why), KEK_OK);
    }
    KEK_AUTO(kek_kubeconfig)
    config = kek_kubeconfig_parse(kek_buf_bytes(&yaml), "f", NULL, &why);
    ck_assert_msg(config != NULL, "%s", why.text);
    ck_assert_str_eq(config->context, "c1999");
}
END_TEST

START_TEST(a_file_says_who_may_read_and_write_it)
{
    char path[] = "/tmp/kek-kubeconfig-XXXXXX";
    struct kek_why why;
    int fd = mkstemp(path);
    const char *yaml = with(CLUSTER, USER);
    ck_assert_int_eq(write(fd, yaml, strlen(yaml)), (ssize_t)strlen(yaml));
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(fchmod(fd, i == 0 ? 0600 : 0644), 0);
        KEK_AUTO(kek_kubeconfig) config = kek_kubeconfig_load(path, NULL, &why);
        ck_assert_msg(config != NULL, "%s", why.text);
        ck_assert_int_eq(config->is_open, i == 1);
    }
    ck_assert_int_eq(fchmod(fd, 0660), 0);
    ck_assert_ptr_null(kek_kubeconfig_load(path, NULL, &why));
    ck_assert_msg(
        strstr(why.text, "has mode 0660: nobody but its owner may write it: chmod go-w") != NULL,
        "%s", why.text);
    close(fd);
    unlink(path);
    ck_assert_ptr_null(kek_kubeconfig_load(path, NULL, &why));
    ck_assert_int_eq(why.rc, KEK_NOT_FOUND);
    ck_assert_ptr_null(kek_kubeconfig_load("/tmp", NULL, &why));
    ck_assert_msg(strstr(why.text, "kubeconfig /tmp is no regular file") != NULL, "%s", why.text);
}
END_TEST

START_TEST(the_file_is_the_one_that_was_named)
{
    struct kek_why why;
    setenv("KUBECONFIG", "/a:/b", 1);
    ck_assert_str_eq(kek_kubeconfig_path("/given", &why), "/given");
    ck_assert_ptr_null(kek_kubeconfig_path(NULL, &why));
    ck_assert_msg(strstr(why.text, "name one by --kubeconfig") != NULL, "%s", why.text);
    setenv("KUBECONFIG", "/a", 1);
    ck_assert_str_eq(kek_kubeconfig_path(NULL, &why), "/a");
    unsetenv("KUBECONFIG");
    ck_assert_str_eq(kek_kubeconfig_path(NULL, &why), KEK_KUBECONFIG_DEFAULT);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kubeconfig");
    TCase *tcase = tcase_create("kubeconfig");
    bool locked;
    if (kek_secret_setup(1 << 20, &locked, NULL) != KEK_OK) {
        return 1;
    }
    tcase_add_test(tcase, inline_data_is_decoded);
    tcase_add_test(tcase, paths_are_of_the_kubeconfigs_folder);
    tcase_add_test(tcase, json_is_yaml_and_a_token_is_enough);
    tcase_add_test(tcase, http_is_for_this_machine_without_credentials);
    tcase_add_loop_test(tcase, what_cannot_be_used_says_why, 0,
                        (int)(sizeof wrong / sizeof wrong[0]));
    tcase_add_loop_test(tcase, what_is_broken_says_where, 0,
                        (int)(sizeof broken / sizeof broken[0]));
    tcase_add_test(tcase, another_context_is_taken_by_its_name);
    tcase_add_test(tcase, a_kubeconfig_may_be_deep_and_long);
    tcase_add_test(tcase, a_file_says_who_may_read_and_write_it);
    tcase_add_test(tcase, the_file_is_the_one_that_was_named);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
