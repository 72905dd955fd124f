/* A kubeconfig's cluster: where the API server is, and by what it is believed. */
#include "kubeconfig.h"
#include "values.h"

#include <string.h>

/* "http://127.example.com" is none. */
static bool is_loopback(const char *server)
{
    static const char v4[] = "http://127.", v6[] = "http://[::1]";
    const char *end = server;
    if (strncmp(server, v6, sizeof v6 - 1) == 0) {
        end = server + sizeof v6 - 1;
    } else if (strncmp(server, v4, sizeof v4 - 1) == 0) {
        end = server + sizeof v4 - 1;
        end += strspn(end, "0123456789.");
    }
    return end > server && (end[0] == '\0' || end[0] == ':' || end[0] == '/');
}

static enum kek_rc take_server(const struct reading *reading, const struct kek_doc_node *cluster,
                               struct kek_kubeconfig *config)
{
    const char *server;
    enum kek_rc rc = reading_text(reading, cluster, "server", &server);
    if (rc != KEK_OK) {
        return rc;
    }
    if (server == NULL) {
        return reading_refuse(reading, cluster,
                              "the cluster has no server: https://HOST:PORT of the API server");
    }
    if (strchr(server, '@') != NULL || strpbrk(server, "?# \t\r\n") != NULL ||
        (strchr(server, '[') != NULL && strchr(server, ']') == NULL)) {
        return reading_refuse(reading, cluster, "server: expected https://HOST:PORT, and no more");
    }
    if (strncmp(server, "https://", 8) != 0 && !is_loopback(server)) {
        return reading_refuse(reading, cluster,
                              "server: expected https://HOST:PORT; http is for 127.0.0.1 and [::1] "
                              "alone, as of kubectl proxy");
    }
    config->server = strdup(server);
    if (config->server == NULL) {
        return values_no_memory(reading);
    }
    size_t len = strlen(config->server);
    while (len > 0 && config->server[len - 1] == '/') {
        config->server[--len] = '\0';
    }
    return KEK_OK;
}

static enum kek_rc refuse_unverified(const struct reading *reading,
                                     const struct kek_doc_node *cluster)
{
    const char *skip;
    enum kek_rc rc = reading_text(reading, cluster, "insecure-skip-tls-verify", &skip);
    if (rc == KEK_OK && skip != NULL && strcmp(skip, "false") != 0) {
        return reading_refuse(
            reading, cluster,
            "insecure-skip-tls-verify is refused: whoever answers would get the "
            "credentials; remove it and set certificate-authority-data (the CA is "
            "in ConfigMap kube-root-ca.crt of every namespace)");
    }
    return rc;
}

/* libcurl knows more schemes than are meant here. */
static enum kek_rc take_proxy(const struct reading *reading, const struct kek_doc_node *cluster,
                              struct kek_kubeconfig *config)
{
    static const char *const schemes[] = {"http://", "https://", "socks5://", "socks5h://"};
    enum kek_rc rc = values_text(reading, cluster, "proxy-url", &config->proxy);
    bool good = config->proxy == NULL;
    for (size_t i = 0; !good && i < sizeof schemes / sizeof schemes[0]; i++) {
        good = strncmp(config->proxy, schemes[i], strlen(schemes[i])) == 0;
    }
    return rc != KEK_OK || good
               ? rc
               : reading_refuse(
                     reading, cluster,
                     "proxy-url: expected http://, https:// or socks5:// and an address");
}

enum kek_rc kubeconfig_cluster(const struct reading *reading, const struct kek_doc_node *cluster,
                               struct kek_kubeconfig *config)
{
    enum kek_rc rc = take_server(reading, cluster, config);
    if (rc == KEK_OK) {
        rc = refuse_unverified(reading, cluster);
    }
    if (rc == KEK_OK) {
        rc = values_text(reading, cluster, "tls-server-name", &config->server_name);
    }
    if (rc == KEK_OK) {
        rc = take_proxy(reading, cluster, config);
    }
    if (rc == KEK_OK) {
        rc = values_pem(reading, cluster, "certificate-authority", "CERTIFICATE", &config->ca);
    }
    if (rc == KEK_OK && config->ca.len == 0) {
        rc = values_path(reading, cluster, "certificate-authority", config->path, &config->ca_file);
    }
    return rc;
}
