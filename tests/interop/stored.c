/*
 * What kekctl makes of keys and values of etcd, for tests that have them from Kubernetes' own code.
 *
 * A line in is PREFIX ETCD-KEY VALUE DEK, each in hex, "-" for none. A line out, blanks between:
 *   RC KIND PROVIDER AMBIGUOUS KEY-ID SOURCE-TYPE SOURCE DATA KEK-ID PLACED RESOURCE NAMESPACE NAME OPENED WHY
 * PROVIDER, KEY-ID, SOURCE, DATA, RESOURCE, NAMESPACE, NAME and WHY in hex or "-"; KEK-ID that of an
 * envelope's first entry; OPENED what the value does under DEK, "-" without one.
 */
#include <stdio.h>
#include <string.h>

#include "kek/kube.h"

#define FIELD_MAX (4u * 1024 * 1024)

static bool unhex(const char *text, struct kek_buf *out)
{
    kek_buf_reset(out);
    if (text == NULL) {
        return false;
    }
    if (strcmp(text, "-") == 0) {
        return true;
    }
    for (; text[0] != '\0'; text += 2) {
        char pair[3] = {text[0], text[1], '\0'};
        char *end;
        uint8_t byte = (uint8_t)strtoul(pair, &end, 16);
        if (end != pair + 2 || kek_buf_append(out, kek_bytes(&byte, 1), NULL) != KEK_OK) {
            return false;
        }
    }
    return true;
}

static void print_hex(struct kek_bytes bytes)
{
    if (bytes.len == 0) {
        (void)fputs(" -", stdout);
        return;
    }
    (void)putchar(' ');
    for (size_t i = 0; i < bytes.len; i++) {
        printf("%02x", bytes.data[i]);
    }
}

static void print_stored(enum kek_rc rc, const struct kek_kube_stored *stored)
{
    char kind[16];
    (void)snprintf(kind, sizeof kind, "%s", kek_kube_kind_name(stored->kind));
    char *blank = strchr(kind, ' ');
    if (blank != NULL) {
        *blank = '-';
    }
    printf("%s %s", kek_rc_name(rc), kind);
    print_hex(stored->provider);
    printf(" %d", stored->ambiguous);
    print_hex(stored->key_id);
    printf(" %u", stored->source_type);
    print_hex(stored->source);
    print_hex(stored->data);
    print_hex(stored->is_kekd ? kek_bytes(stored->envelope.entries[0].kek_id.bytes, KEK_ID_LEN)
                              : kek_bytes(NULL, 0));
}

static void print_name(struct kek_bytes key, struct kek_bytes prefix)
{
    struct kek_kube_name name = {0};
    char resource[512] = "";
    bool placed = kek_kube_name(key, prefix, &name);
    if (placed) {
        (void)kek_kube_resource(&name, resource, sizeof resource);
    }
    printf(" %d", placed);
    print_hex(kek_bytes_of(resource));
    print_hex(name.ns);
    print_hex(name.name);
}

static bool answer(char *line)
{
    static struct kek_buf prefix = {.max = FIELD_MAX}, key = {.max = FIELD_MAX},
                          value = {.max = FIELD_MAX}, dek = {.max = FIELD_MAX};
    struct kek_kube_stored stored;
    struct kek_why why = {.text = ""};
    char *rest = NULL;
    if (!unhex(strtok_r(line, " \n", &rest), &prefix) ||
        !unhex(strtok_r(NULL, " \n", &rest), &key) ||
        !unhex(strtok_r(NULL, " \n", &rest), &value) ||
        !unhex(strtok_r(NULL, " \n", &rest), &dek)) {
        return false;
    }
    print_stored(kek_kube_parse(kek_buf_bytes(&value), &stored, &why), &stored);
    print_name(kek_buf_bytes(&key), kek_buf_bytes(&prefix));
    if (dek.len == 0) {
        (void)fputs(" -", stdout);
    } else {
        KEK_AUTO(kek_secret) secret = kek_secret_dup(kek_buf_bytes(&dek));
        enum kek_rc opened = secret == NULL
                                 ? KEK_EXHAUSTED
                                 : kek_kube_open(&stored, kek_buf_bytes(&key), secret, NULL);
        printf(" %s", kek_rc_name(opened));
    }
    print_hex(kek_bytes_of(why.text));
    return putchar('\n') != EOF && fflush(stdout) == 0;
}

int main(void)
{
    bool locked;
    if (kek_secret_setup(64 * 1024, &locked, NULL) != KEK_OK) {
        return 1;
    }
    char *line = NULL;
    size_t size = 0;
    while (getline(&line, &size, stdin) > 0) {
        if (!answer(line)) {
            fprintf(stderr, "a line is PREFIX ETCD-KEY VALUE DEK\n");
            return 2;
        }
    }
    free(line);
    return 0;
}
