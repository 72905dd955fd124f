/* The configuration: what it accepts, and where exactly it says what is wrong. */
#include "suite.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "kek/config.h"

#define URI "pkcs11:token=t?module-path=/m.so&pin-source=file:/pin"
/* Six lines; a case adds keys of the provider (four spaces) or of the root as line 7. */
#define BASE                         \
    "listen: unix:///run/kms.sock\n" \
    "keyring: k\n"                   \
    "providers:\n"                   \
    "  - name: a\n"                  \
    "    type: pkcs11\n"             \
    "    uri: \"" URI "\"\n"

struct wrong {
    const char *yaml;
    const char *said;
};

static void check_refused(const char *yaml, size_t len, const char *said)
{
    struct kek_why why = {.rc = KEK_OK};
    struct kek_config *config = kek_config_parse(kek_bytes(yaml, len), "f", &why);
    ck_assert_msg(config == NULL, "accepted, expected: %s", said);
    ck_assert_str_eq(why.text, said);
    ck_assert_int_eq(why.rc, KEK_INVALID);
    /* And without anybody who listens. */
    ck_assert_ptr_null(kek_config_parse(kek_bytes(yaml, len), "f", NULL));
}

static struct kek_config *accept(const char *yaml)
{
    struct kek_why why = {.rc = KEK_OK};
    struct kek_config *config = kek_config_parse(kek_bytes_of(yaml), "f", &why);
    ck_assert_msg(config != NULL, "%s", why.text);
    return config;
}

static const struct wrong documents[] = {
    {"", "f:1:1: expected a mapping, found nothing"},
    {"# only a remark\n", "f:1:1: expected a mapping, found nothing"},
    {"- a\n", "f:1:1: expected a mapping, found a list"},
    {"hello\n", "f:1:1: expected a mapping, found \"hello\""},
    {"a: [1\n", "f:2:1: not YAML: did not find expected ',' or ']'"},
    {"a: 1\n\tb: 2\n", "f:2:1: not YAML: found a tab character that violates indentation"},
    {"a: &x 1\n", "f:1:4: anchors (&) are not accepted"},
    {"a: &x [1]\n", "f:1:4: anchors (&) are not accepted"},
    {"a: &x {b: 1}\n", "f:1:4: anchors (&) are not accepted"},
    {"a: 1\nb: *x\n", "f:2:4: aliases (*) are not accepted"},
    {"a: !!str 1\n", "f:1:4: tags (!) are not accepted"},
    {"a: !t [1]\n", "f:1:4: tags (!) are not accepted"},
    {"a: !t {b: 1}\n", "f:1:4: tags (!) are not accepted"},
    {"%TAG ! tag:x,2000:\n---\na: 1\n", "f:1:1: tags (!) are not accepted"},
    {"a: 1\n---\nb: 1\n", "f:2:1: expected one document, found a second one"},
    {"[a, b]: 1\n", "f:1:1: expected a key, found something else"},
    {"{a: 1}: 1\n", "f:1:1: expected a key, found something else"},
    {"~: 1\n", "f:1:1: expected a key, found something else"},
    {"a: [[[[[[[[1]]]]]]]]\n", "f:1:11: more than 8 levels of lists and mappings"},
    {"a: \"x\\0y\"\n", "f:1:4: a text with a NUL character in it"},
    {"a: b\nc: d\xff\n", "f:2:5: not UTF-8 text: invalid leading UTF-8 octet"},
    {"\xc3\xa4: x\x01\n", "f:1:5: not UTF-8 text: control characters are not allowed"},
    {"\xff\xfe"
     "a\0:\0",
     "f:1:1: not UTF-8 text: invalid leading UTF-8 octet"},
};

START_TEST(document_refused_where_it_stops_being_one)
{
    const struct wrong *w = &documents[_i];
    check_refused(w->yaml, strlen(w->yaml), w->said);
}
END_TEST

static const struct wrong keys[] = {
    {BASE "refesh: 1s\n", "f:7:1: refesh: expected a known key, did you mean \"refresh\"?"},
    {BASE "data_key: {max_use: 1}\n",
     "f:7:12: data_key.max_use: expected a known key, did you mean \"max_uses\"?"},
    {BASE "    pin: 1234\n",
     "f:7:5: providers[0].pin: expected one of name, type, uri, strategy, processes, sessions, "
     "timeout, start_timeout, recycle_after, recycle_memory, env, init_args, user, groups, "
     "versions"},
    {BASE "health: {frobnicate: 1}\n",
     "f:7:10: health.frobnicate: expected one of probe_interval, grace"},
    {BASE "\"a\\e[31m\": 1\n", "f:7:1: a\\x1b[31m: expected one of listen, allow_uids, keyring, "
                               "context, context_accept, data_key, health, refresh, settle, "
                               "state_dir, providers, metrics, audit, log"},
    {BASE "keyring: other\n", "f:7:1: keyring: expected once, found again (first at 2:1)"},
    {BASE "log: {level: info, level: warn}\n",
     "f:7:20: log.level: expected once, found again (first at 7:7)"},
    {BASE "    env: {A: x, A: y}\n",
     "f:7:17: providers[0].env.A: expected once, found again (first at 7:11)"},
    {"keyring: k\n", "f:1:1: listen: expected this key, found it missing"},
    {"listen: unix:///s\nkeyring: k\n", "f:1:1: providers: expected this key, found it missing"},
    {"\nlisten: unix:///s\nkeyring: k\nproviders:\n  - name: a\n    type: pkcs11\n",
     "f:5:5: providers[0].uri: expected this key, found it missing"},
    {BASE "audit: {}\n", "f:7:8: audit.file: expected this key, found it missing"},
    {BASE "    versions: [{n: 1}]\n",
     "f:7:16: providers[0].versions[0].state: expected this key, found it missing"},
};

START_TEST(key_refused_when_unknown_repeated_or_missing)
{
    check_refused(keys[_i].yaml, strlen(keys[_i].yaml), keys[_i].said);
}
END_TEST

#define NUMBER "expected a whole number from "
#define DURATION "expected a duration (a number and ms, s, m or h) from "
#define SIZE "expected a size (a number and KiB, MiB or GiB) from "
#define LISTEN "expected unix:///absolute/path (without %, ? and #), found "
#define ADDRESS \
    "expected a numeric address and a port, \"127.0.0.1:9478\" or \"[::1]:9478\", found "

static const struct wrong values[] = {
    {BASE "data_key: 5\n", "f:7:11: data_key: expected a mapping, found \"5\""},
    {BASE "data_key:\n", "f:7:10: data_key: expected a mapping, found nothing"},
    {BASE "data_key: {max_uses: many}\n",
     "f:7:22: data_key.max_uses: " NUMBER "1 to 4294967296, found \"many\""},
    {BASE "data_key: {max_uses: 0}\n",
     "f:7:22: data_key.max_uses: " NUMBER "1 to 4294967296, found \"0\""},
    {BASE "data_key: {max_uses: 4294967297}\n",
     "f:7:22: data_key.max_uses: " NUMBER "1 to 4294967296, found \"4294967297\""},
    {BASE "data_key: {max_uses: 18446744073709551617}\n",
     "f:7:22: data_key.max_uses: " NUMBER "1 to 4294967296, found \"18446744073709551617\""},
    {BASE "data_key: {max_uses: -1}\n",
     "f:7:22: data_key.max_uses: " NUMBER "1 to 4294967296, found \"-1\""},
    {BASE "data_key: {max_uses: 1e3}\n",
     "f:7:22: data_key.max_uses: " NUMBER "1 to 4294967296, found \"1e3\""},
    {BASE "data_key: {max_uses: \"5\"}\n",
     "f:7:22: data_key.max_uses: " NUMBER "1 to 4294967296 without quotes, found \"5\""},
    {BASE "data_key: {max_uses: [5]}\n",
     "f:7:22: data_key.max_uses: " NUMBER "1 to 4294967296, found a list"},
    {BASE "data_key: {cache_entries: 1000001}\n",
     "f:7:27: data_key.cache_entries: " NUMBER "1 to 1000000, found \"1000001\""},
    {BASE "data_key: {max_age: 999ms}\n",
     "f:7:21: data_key.max_age: " DURATION "1s to 720h, found \"999ms\""},
    {BASE "data_key: {cache_ttl: 60}\n",
     "f:7:23: data_key.cache_ttl: " DURATION "1s to 720h, found \"60\""},
    {BASE "health: {probe_interval: 2h}\n",
     "f:7:26: health.probe_interval: " DURATION "1s to 1h, found \"2h\""},
    {BASE "health: {grace: 169h}\n",
     "f:7:17: health.grace: " DURATION "0ms to 168h, found \"169h\""},
    {BASE "refresh: 15 s\n", "f:7:10: refresh: " DURATION "1s to 1h, found \"15 s\""},
    {BASE "refresh: {}\n", "f:7:10: refresh: " DURATION "1s to 1h, found a mapping"},
    {BASE "settle: -1s\n", "f:7:9: settle: " DURATION "0ms to 24h, found \"-1s\""},
    {BASE "settle: 18446744073709551615h\n",
     "f:7:9: settle: " DURATION "0ms to 24h, found \"18446744073709551615h\""},
    {BASE "    recycle_memory: 64\n",
     "f:7:21: providers[0].recycle_memory: " SIZE "1MiB to 64GiB, found \"64\""},
    {BASE "    recycle_memory: 64MB\n",
     "f:7:21: providers[0].recycle_memory: " SIZE "1MiB to 64GiB, found \"64MB\""},
    {BASE "    recycle_memory: 1023KiB\n",
     "f:7:21: providers[0].recycle_memory: " SIZE "1MiB to 64GiB, found \"1023KiB\""},
    {BASE "    recycle_after: 0\n",
     "f:7:20: providers[0].recycle_after: " NUMBER "1 to 1000000000000, found \"0\""},
    {BASE "    processes: 17\n", "f:7:16: providers[0].processes: " NUMBER "1 to 16, found \"17\""},
    {BASE "    sessions: 65\n", "f:7:15: providers[0].sessions: " NUMBER "1 to 64, found \"65\""},
    {BASE "    timeout: 9ms\n",
     "f:7:14: providers[0].timeout: " DURATION "10ms to 1m, found \"9ms\""},
    {BASE "    start_timeout: 11m\n",
     "f:7:20: providers[0].start_timeout: " DURATION "100ms to 10m, found \"11m\""},
    {BASE "    strategy: wrap\n",
     "f:7:15: providers[0].strategy: expected auto, wrap-key or encrypt, found \"wrap\""},
    {BASE "log: {level: loud}\n",
     "f:7:14: log.level: expected error, warn, info or debug, found \"loud\""},
    {BASE "log: {format: [text]}\n", "f:7:15: log.format: expected text or json, found a list"},
    {BASE "context: null\n",
     "f:7:10: context: expected a string of at most 255 bytes, found nothing"},
    {BASE "context_accept: old\n",
     "f:7:17: context_accept: expected a list of 0 to 16 strings, found \"old\""},
    {BASE "context_accept: [a, ~]\n",
     "f:7:21: context_accept[1]: expected a string of at most 255 bytes, found nothing"},
    {BASE "state_dir: var/lib\n",
     "f:7:12: state_dir: expected an absolute path of at most 4000 bytes, found \"var/lib\""},
    {BASE "audit: {file: a.log}\n",
     "f:7:15: audit.file: expected an absolute path of at most 4000 bytes, found \"a.log\""},
    {BASE "audit: /var/log\n", "f:7:8: audit: expected a mapping, found \"/var/log\""},
    {BASE "allow_uids: 0\n",
     "f:7:13: allow_uids: expected a list of 1 to 64 user ids, found \"0\""},
    {BASE "allow_uids: []\n",
     "f:7:13: allow_uids: expected a list of 1 to 64 user ids, found one of 0"},
    {BASE "allow_uids: [0, root]\n",
     "f:7:17: allow_uids[1]: " NUMBER "0 to 4294967294, found \"root\""},
    {BASE "metrics: localhost:1\n", "f:7:10: metrics: " ADDRESS "\"localhost:1\""},
    {BASE "metrics: 127.0.0.1\n", "f:7:10: metrics: " ADDRESS "\"127.0.0.1\""},
    {BASE "metrics: 127.0.0.1:0\n", "f:7:10: metrics: " ADDRESS "\"127.0.0.1:0\""},
    {BASE "metrics: 127.0.0.1:65536\n", "f:7:10: metrics: " ADDRESS "\"127.0.0.1:65536\""},
    {BASE "metrics: 127.0.0.1:1x\n", "f:7:10: metrics: " ADDRESS "\"127.0.0.1:1x\""},
    {BASE "metrics: \"::1:80\"\n", "f:7:10: metrics: " ADDRESS "\"::1:80\""},
    {BASE "metrics: \"[::1:80\"\n", "f:7:10: metrics: " ADDRESS "\"[::1:80\""},
    {BASE "metrics: \"[::1]80\"\n", "f:7:10: metrics: " ADDRESS "\"[::1]80\""},
    {BASE "metrics: [::1]:80\n", "f:7:11: not YAML: did not find expected node content"},
    {"listen: /run/s\n", "f:1:9: listen: " LISTEN "\"/run/s\""},
    {"listen: unix://run/s\n", "f:1:9: listen: " LISTEN "\"unix://run/s\""},
    {"listen: unix:///run/\n", "f:1:9: listen: " LISTEN "\"unix:///run/\""},
    {"listen: unix:///run/a%20b\n", "f:1:9: listen: " LISTEN "\"unix:///run/a%20b\""},
    {"listen: unix:///@kms\n", "f:1:9: listen: expected a socket in the file system (an abstract "
                               "one has no mode), found \"unix:///@kms\""},
    {"keyring: K8s\n", "f:1:10: keyring: expected 1 to 63 of a-z, 0-9, \".\" and \"-\", first a "
                       "letter or digit, found \"K8s\""},
    {"keyring: -a\n", "f:1:10: keyring: expected 1 to 63 of a-z, 0-9, \".\" and \"-\", first a "
                      "letter or digit, found \"-a\""},
    {"providers: {}\n", "f:1:12: providers: expected a list of 1 to 8 mappings, found a mapping"},
    {"providers: []\n", "f:1:12: providers: expected a list of 1 to 8 mappings, found one of 0"},
    {"providers: [{}, {}, {}, {}, {}, {}, {}, {}, {}]\n",
     "f:1:12: providers: expected a list of 1 to 8 mappings, found one of 9"},
    {"providers: [x]\n", "f:1:13: providers[0]: expected a mapping, found \"x\""},
    {"providers: [{name: A}]\n",
     "f:1:20: providers[0].name: expected 1 to 32 of a-z, 0-9 and \"-\", found \"A\""},
    {"providers: [{type: pkcs12}]\n",
     "f:1:20: providers[0].type: expected pkcs11, found \"pkcs12\""},
    {"providers: [{uri: []}]\n", "f:1:19: providers[0].uri: expected a PKCS#11 URI, found a list"},
    {"providers: [{uri: 'pkcs11:token=a?pin-value=1234'}]\n",
     "f:1:19: providers[0].uri: expected pin-source=file:/path, found pin-value (a PIN must not "
     "stand in a configuration)"},
    {BASE
     "    env: {A1: x, A2: x, A3: x, A4: x, A5: x, A6: x, A7: x, A8: x, A9: x, A10: x, A11: x, "
     "B1: x, B2: x, B3: x, B4: x, B5: x, B6: x, B7: x, B8: x, B9: x, B10: x, B11: x, "
     "C1: x, C2: x, C3: x, C4: x, C5: x, C6: x, C7: x, C8: x, C9: x, C10: x, C11: x, "
     "D1: x, D2: x, D3: x, D4: x, D5: x, D6: x, D7: x, D8: x, D9: x, D10: x, D11: x, "
     "E1: x, E2: x, E3: x, E4: x, E5: x, E6: x, E7: x, E8: x, E9: x, E10: x, E11: x, "
     "F1: x, F2: x, F3: x, F4: x, F5: x, F6: x, F7: x, F8: x, F9: x, F10: x}\n",
     "f:7:10: providers[0].env: expected a mapping of at most 64 names to strings, found one of "
     "65"},
    {BASE "    env: [A]\n",
     "f:7:10: providers[0].env: expected a mapping of at most 64 names to strings, found a list"},
    {BASE "    env: {1A: x}\n", "f:7:11: providers[0].env.1A: expected a variable name of "
                                "letters, digits and _"},
    {BASE "    env: {A: [x]}\n", "f:7:14: providers[0].env.A: expected a string of at most 4096 "
                                 "bytes, found a list or a mapping"},
    {BASE "    env: {A: }\n", "f:7:14: providers[0].env.A: expected a string of at most 4096 "
                              "bytes, found something else"},
    {BASE "    env: {HSM_PIN: 1234}\n",
     "f:7:11: providers[0].env.HSM_PIN: expected no secret in an environment, a PIN comes from "
     "pin-source of the uri"},
    {BASE "    env: {Password: x}\n",
     "f:7:11: providers[0].env.Password: expected no secret in an environment, a PIN comes from "
     "pin-source of the uri"},
    {BASE "    env: {NOTIFY_SOCKET: x}\n",
     "f:7:11: providers[0].env.NOTIFY_SOCKET: expected no variable of the service manager's "
     "protocol with kekd"},
    {BASE "    env: {LISTEN_FDS: \"1\"}\n",
     "f:7:11: providers[0].env.LISTEN_FDS: expected no variable of the service manager's "
     "protocol with kekd"},
    {BASE "    init_args: \"\"\n",
     "f:7:16: providers[0].init_args: expected a string of 1 to 1024 bytes, found \"\""},
    {BASE "    user: 1000\n", "f:7:11: providers[0].user: expected an account's name of 1 to 32 "
                              "letters, digits, \"_\", \".\" and \"-\", found \"1000\""},
    {BASE "    groups: [hsm, \"a b\"]\n",
     "f:7:19: providers[0].groups[1]: expected an account's name of 1 to 32 letters, digits, "
     "\"_\", \".\" and \"-\", found \"a b\""},
    {BASE "    versions: [{n: 0, state: active}]\n",
     "f:7:20: providers[0].versions[0].n: " NUMBER "1 to 4294967295, found \"0\""},
    {BASE "    versions: [{n: 1, label: \"\", state: active}]\n",
     "f:7:30: providers[0].versions[0].label: expected a key label of 1 to 127 bytes, found \"\""},
    {BASE "    versions: [{n: 1, state: disabled}]\n",
     "f:7:30: providers[0].versions[0].state: expected pre-active, active or deactivated, found "
     "\"disabled\""},
};

START_TEST(value_refused_with_what_was_expected)
{
    check_refused(values[_i].yaml, strlen(values[_i].yaml), values[_i].said);
}
END_TEST

static const struct wrong together[] = {
    {BASE "    timeout: 5s\n    start_timeout: 5s\n",
     "f:7:14: providers[0].timeout: expected a timeout below start_timeout, found 5000ms and "
     "5000ms"},
    {BASE "    start_timeout: 900ms\n",
     "f:7:20: providers[0].start_timeout: expected a timeout below start_timeout, found 1000ms "
     "and 900ms"},
    {BASE "  - name: a\n    type: pkcs11\n    uri: \"" URI "\"\n",
     "f:7:11: providers[1].name: expected each name once, found \"a\" again"},
    {BASE "    versions:\n      - {n: 1, state: active}\n      - {n: 1, state: deactivated}\n",
     "f:9:13: providers[0].versions[1].n: expected each number once, found 1 again"},
    {BASE "    versions:\n      - {n: 1, label: x, state: active}\n"
          "      - {n: 2, label: x, state: pre-active}\n",
     "f:9:9: providers[0].versions[1]: expected each label once, found that of versions[0] again"},
    {BASE "    versions:\n      - {n: 1, state: active}\n"
          "      - {n: 2, label: k.v1, state: pre-active}\n",
     "f:9:9: providers[0].versions[1]: expected each label once, found that of versions[0] again"},
    {BASE "  - {name: b, type: pkcs11, uri: \"" URI
          "\", versions: [{n: 7, label: k.v8, state: active}, "
          "{n: 8, state: active}]}\n",
     "f:7:138: providers[1].versions[1]: expected each label once, found that of versions[0] "
     "again"},
};

START_TEST(keys_refused_when_they_do_not_fit_together)
{
    check_refused(together[_i].yaml, strlen(together[_i].yaml), together[_i].said);
}
END_TEST

START_TEST(parse_refuses_a_secret_without_showing_it)
{
    struct kek_why why;
    static const char pin[] = BASE "    env: {HSM_PIN: 987654}\n";
    ck_assert_ptr_null(kek_config_parse(kek_bytes_of(pin), "f", &why));
    ck_assert_ptr_null(strstr(why.text, "987654"));
}
END_TEST

/* Filler of `count` bytes between two texts. */
static char *filled(const char *before, char filler, size_t count, const char *after)
{
    size_t head = strlen(before), tail = strlen(after);
    char *text = malloc(head + count + tail + 1);
    ck_assert_ptr_nonnull(text);
    memcpy(text, before, head);
    memset(text + head, filler, count);
    memcpy(text + head + count, after, tail + 1);
    return text;
}

static bool parses(char *yaml)
{
    struct kek_why why;
    struct kek_config *config = kek_config_parse(kek_bytes_of(yaml), "f", &why);
    kek_config_free(config);
    free(yaml);
    return config != NULL;
}

START_TEST(lengths_are_accepted_up_to_their_limit)
{
    static const char rest[] = "\nproviders:\n  - {name: a, type: pkcs11, uri: '" URI "'}\n";
    char after[sizeof rest + 64];
    snprintf(after, sizeof after, "\nkeyring: k%s", rest);
    ck_assert(parses(filled("listen: unix:///", 'a', 106, after)));
    ck_assert(!parses(filled("listen: unix:///", 'a', 107, after)));
    snprintf(after, sizeof after, "\nlisten: unix:///s%s", rest);
    ck_assert(parses(filled("keyring: ", 'a', 63, after)));
    ck_assert(!parses(filled("keyring: ", 'a', 64, after)));
    ck_assert(parses(filled(BASE "context: ", 'a', 255, "\n")));
    ck_assert(!parses(filled(BASE "context: ", 'a', 256, "\n")));
    ck_assert(parses(filled(BASE "    env: {A: ", 'a', 4096, "}\n")));
    ck_assert(!parses(filled(BASE "    env: {A: ", 'a', 4097, "}\n")));
    ck_assert(parses(filled(BASE "# ", 'a', 8000, "\n")));
    ck_assert(!parses(filled(BASE "a", 'a', 8000, ": 1\n")));
}
END_TEST

START_TEST(parse_stops_at_its_limits)
{
    struct kek_why why;
    char *big = filled(BASE "# ", 'x', KEK_CONFIG_FILE_MAX, "\n");
    ck_assert_ptr_null(kek_config_parse(kek_bytes_of(big), "f", &why));
    ck_assert_int_eq(why.rc, KEK_TOO_LARGE);
    ck_assert_str_eq(why.text, "f: larger than 262144 bytes");
    free(big);

    static const char item[] = "0,";
    char *many = malloc(4200 * 2 + 64);
    ck_assert_ptr_nonnull(many);
    size_t at = (size_t)snprintf(many, 64, "allow_uids: [");
    for (size_t i = 0; i < 4200; i++) {
        memcpy(many + at, item, 2);
        at += 2;
    }
    memcpy(many + at, "]\n", 3);
    ck_assert_ptr_null(kek_config_parse(kek_bytes_of(many), "f", &why));
    ck_assert_str_eq(why.text, "f:1:8200: more than 4096 keys and values");
    free(many);
}
END_TEST

static void check_defaults(const struct kek_config *c)
{
    ck_assert_str_eq(c->context, "");
    ck_assert_ptr_null(c->context_accept[0]);
    ck_assert_uint_eq(c->data_key.max_uses, 100000);
    ck_assert_uint_eq(c->data_key.max_age_ms, 3600 * 1000);
    ck_assert_uint_eq(c->data_key.cache_entries, 4096);
    ck_assert_uint_eq(c->data_key.cache_ttl_ms, 3600 * 1000);
    ck_assert_uint_eq(c->health.probe_interval_ms, 60 * 1000);
    ck_assert_uint_eq(c->health.grace_ms, 15 * 60 * 1000);
    ck_assert_uint_eq(c->refresh_ms, 15 * 1000);
    ck_assert_uint_eq(c->settle_ms, 60 * 1000);
    ck_assert_str_eq(c->state_dir, "/var/lib/kekd");
    ck_assert_int_eq(c->log_level, KEK_LOG_INFO);
    ck_assert_int_eq(c->log_format, KEK_LOG_TEXT);
    ck_assert_uint_eq(c->provider_count, 1);
    const struct kek_config_provider *p = &c->providers[0];
    ck_assert_str_eq(p->type, "pkcs11");
    ck_assert_int_eq(p->strategy, KEK_STRATEGY_AUTO);
    ck_assert_uint_eq(p->processes, 2);
    ck_assert_uint_eq(p->sessions, 4);
    ck_assert_uint_eq(p->timeout_ms, 1000);
    ck_assert_uint_eq(p->start_timeout_ms, 30 * 1000);
    ck_assert_uint_eq(p->recycle_after, 200000);
    ck_assert_uint_eq(p->recycle_memory, 64 * 1024 * 1024);
    ck_assert_ptr_null(p->env);
    ck_assert_ptr_null(p->init_args);
    ck_assert_ptr_null(p->user);
    ck_assert_ptr_null(p->groups);
    ck_assert_uint_eq(p->version_count, 0);
}

START_TEST(least_config_has_the_documented_defaults)
{
    KEK_AUTO(kek_config) c = accept(BASE);
    check_defaults(c);
    ck_assert_str_eq(c->path, "f");
    ck_assert_str_eq(c->listen, "/run/kms.sock");
    ck_assert_str_eq(c->keyring, "k");
    ck_assert_str_eq(c->providers[0].name, "a");
    ck_assert_str_eq(c->providers[0].uri, URI);
    ck_assert_ptr_null(c->metrics_host);
    ck_assert_ptr_null(c->audit_file);
    ck_assert_uint_eq(c->allow_uids[0], 0);
    ck_assert_uint_eq(c->allow_uids[c->allow_uid_count - 1], geteuid());
    ck_assert_uint_eq(c->allow_uid_count, geteuid() == 0 ? 1 : 2);
}
END_TEST

START_TEST(example_parses_and_shows_the_defaults)
{
    KEK_AUTO(kek_config) c = accept(kek_config_example());
    check_defaults(c);
    ck_assert_str_eq(c->metrics_host, "127.0.0.1");
    ck_assert_uint_eq(c->metrics_port, 9478);
    ck_assert_str_eq(c->audit_file, "/var/log/kekd/audit.jsonl");
}
END_TEST

/* The lines of the example that are commented out, taken in. */
START_TEST(example_parses_with_everything_in_it)
{
    char *text = strdup(kek_config_example());
    ck_assert_ptr_nonnull(text);
    size_t taken = 0;
    for (char *line = text; line != NULL && *line != '\0';) {
        char *mark = line + strspn(line, " ");
        if (mark[0] == '#' && mark != text && strchr(mark, ':') != NULL &&
            strcspn(mark, ":") < strcspn(mark, "\n")) {
            memmove(mark, mark + 2, strlen(mark + 2) + 1);
            taken++;
        } else if (mark[0] == '#' && mark[6] == '-') {
            memmove(mark, mark + 2, strlen(mark + 2) + 1);
            taken++;
        }
        line = strchr(line, '\n');
        line = line == NULL ? NULL : line + 1;
    }
    ck_assert_uint_eq(taken, 7);
    KEK_AUTO(kek_config) c = accept(text);
    free(text);
    const struct kek_config_provider *p = &c->providers[0];
    ck_assert_str_eq(c->context_accept[0], "old");
    ck_assert_str_eq(p->env[0], "ChrystokiConfigurationPath=/etc/luna");
    ck_assert_str_eq(p->user, "kekd-hsm");
    ck_assert_str_eq(p->groups[0], "nfast");
    ck_assert_uint_eq(p->version_count, 1);
    ck_assert_str_eq(p->versions[0].label, "made-by-the-officers");
}
END_TEST

START_TEST(every_key_reaches_its_member)
{
    KEK_AUTO(kek_config)
    c = accept(
        "listen: unix:///s\nallow_uids: [7, 8]\nkeyring: 0.k-1\ncontext: \"a b\"\n"
        "context_accept: [\"\", x]\n"
        "data_key: {max_uses: 1, max_age: 90s, cache_entries: 7, cache_ttl: 2m}\n"
        "health: {probe_interval: 5s, grace: 0s}\nrefresh: 1h\nsettle: 1500ms\nstate_dir: /s\n"
        "providers:\n"
        "- {name: a-1, type: pkcs11, uri: \"" URI "\", strategy: encrypt, processes: 16,\n"
        "   sessions: 64, timeout: 250ms, start_timeout: 1m, recycle_after: 9,\n"
        "   recycle_memory: 2GiB, env: {LD_LIBRARY_PATH: /v, B_2: \"\"}, init_args: \"a='b'\",\n"
        "   user: _u, groups: [g, h.1], versions: [{n: 4294967295, state: pre-active},\n"
        "   {n: 2, label: two, state: deactivated}]}\n"
        "- {name: b, type: pkcs11, uri: \"" URI "\", strategy: wrap-key}\n"
        "metrics: \"[::1]:65535\"\naudit: {file: /a}\nlog: {level: debug, format: json}\n");
    ck_assert_uint_eq(c->allow_uid_count, 2);
    ck_assert_uint_eq(c->allow_uids[1], 8);
    ck_assert_str_eq(c->keyring, "0.k-1");
    ck_assert_str_eq(c->context, "a b");
    ck_assert_str_eq(c->context_accept[0], "");
    ck_assert_str_eq(c->context_accept[1], "x");
    ck_assert_ptr_null(c->context_accept[2]);
    ck_assert_uint_eq(c->data_key.max_uses, 1);
    ck_assert_uint_eq(c->data_key.max_age_ms, 90000);
    ck_assert_uint_eq(c->data_key.cache_entries, 7);
    ck_assert_uint_eq(c->data_key.cache_ttl_ms, 120000);
    ck_assert_uint_eq(c->health.probe_interval_ms, 5000);
    ck_assert_uint_eq(c->health.grace_ms, 0);
    ck_assert_uint_eq(c->refresh_ms, 3600000);
    ck_assert_uint_eq(c->settle_ms, 1500);
    ck_assert_str_eq(c->state_dir, "/s");
    ck_assert_str_eq(c->metrics_host, "::1");
    ck_assert_uint_eq(c->metrics_port, 65535);
    ck_assert_str_eq(c->audit_file, "/a");
    ck_assert_int_eq(c->log_level, KEK_LOG_DEBUG);
    ck_assert_int_eq(c->log_format, KEK_LOG_JSON);
    ck_assert_uint_eq(c->provider_count, 2);
    const struct kek_config_provider *p = &c->providers[0];
    ck_assert_int_eq(p->strategy, KEK_STRATEGY_ENCRYPT);
    ck_assert_uint_eq(p->processes, 16);
    ck_assert_uint_eq(p->sessions, 64);
    ck_assert_uint_eq(p->timeout_ms, 250);
    ck_assert_uint_eq(p->start_timeout_ms, 60000);
    ck_assert_uint_eq(p->recycle_after, 9);
    ck_assert_uint_eq(p->recycle_memory, UINT64_C(2) << 30);
    ck_assert_str_eq(p->env[0], "LD_LIBRARY_PATH=/v");
    ck_assert_str_eq(p->env[1], "B_2=");
    ck_assert_ptr_null(p->env[2]);
    ck_assert_str_eq(p->init_args, "a='b'");
    ck_assert_str_eq(p->user, "_u");
    ck_assert_str_eq(p->groups[1], "h.1");
    ck_assert_ptr_null(p->groups[2]);
    ck_assert_uint_eq(p->version_count, 2);
    ck_assert_uint_eq(p->versions[0].number, UINT32_MAX);
    ck_assert_ptr_null(p->versions[0].label);
    ck_assert_int_eq(p->versions[0].state, KEK_STATE_PRE_ACTIVE);
    ck_assert_str_eq(p->versions[1].label, "two");
    ck_assert_int_eq(p->versions[1].state, KEK_STATE_DEACTIVATED);
    ck_assert_int_eq(c->providers[1].strategy, KEK_STRATEGY_WRAP_KEY);
}
END_TEST

START_TEST(a_version_directive_and_a_byte_order_mark_are_accepted)
{
    kek_config_free(accept("%YAML 1.1\n---\n" BASE "...\n"));
    kek_config_free(accept("\xef\xbb\xbf" BASE));
}
END_TEST

/* The file itself. */

struct temporary {
    char folder[64];
    char path[96];
};

static struct temporary temporary_new(const char *content, mode_t mode)
{
    struct temporary t = {.folder = "/tmp/kek-config-XXXXXX"};
    ck_assert_ptr_nonnull(mkdtemp(t.folder));
    snprintf(t.path, sizeof t.path, "%s/f", t.folder);
    int fd = open(t.path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, content, strlen(content)), (ssize_t)strlen(content));
    ck_assert_int_eq(fchmod(fd, mode), 0);
    close(fd);
    return t;
}

static void temporary_done(const struct temporary *t)
{
    unlink(t->path);
    ck_assert_int_eq(rmdir(t->folder), 0);
}

static void check_load_refused(const char *path, enum kek_rc rc, const char *before,
                               const char *after)
{
    struct kek_why why;
    char text[KEK_WHY_TEXT];
    ck_assert_ptr_null(kek_config_load(path, &why));
    ck_assert_int_eq(why.rc, rc);
    snprintf(text, sizeof text, "%s%s%s", before, path, after);
    ck_assert_str_eq(why.text, text);
}

START_TEST(load_reads_a_file_that_only_its_owner_may_write)
{
    struct temporary t = temporary_new(BASE, 0644);
    struct kek_why why;
    struct kek_config *c = kek_config_load(t.path, &why);
    ck_assert_ptr_nonnull(c);
    ck_assert_str_eq(c->path, t.path);
    kek_config_free(c);
    static const mode_t loose[] = {0664, 0646, 0622, 0620};
    for (size_t i = 0; i < sizeof loose / sizeof loose[0]; i++) {
        char said[128];
        snprintf(said, sizeof said,
                 ": expected a file that only its owner may write, found mode %04o",
                 (unsigned)loose[i]);
        ck_assert_int_eq(chmod(t.path, loose[i]), 0);
        check_load_refused(t.path, KEK_DENIED, "", said);
    }
    temporary_done(&t);
}
END_TEST
START_TEST(load_refuses_a_file_of_somebody_else)
{
    if (geteuid() != 0) {
        return; /* only root can give a file away */
    }
    struct temporary t = temporary_new(BASE, 0644);
    ck_assert_int_eq(chown(t.path, 4242, 0), 0);
    struct kek_why why;
    ck_assert_ptr_null(kek_config_load(t.path, &why));
    ck_assert_int_eq(why.rc, KEK_DENIED);
    ck_assert_ptr_nonnull(
        strstr(why.text, "expected a file of root or of uid 0, found one of uid 4242"));
    temporary_done(&t);
}
END_TEST

START_TEST(load_names_the_file_in_what_is_wrong)
{
    struct temporary t = temporary_new("keyring: K\n", 0600);
    check_load_refused(t.path, KEK_INVALID, "",
                       ":1:10: keyring: expected 1 to 63 of a-z, 0-9, \".\" and \"-\", first a "
                       "letter or digit, found \"K\"");
    ck_assert_int_eq(truncate(t.path, KEK_CONFIG_FILE_MAX + 1), 0);
    check_load_refused(t.path, KEK_TOO_LARGE, "", ": larger than 262144 bytes");
    check_load_refused(t.folder, KEK_DENIED, "", ": expected a regular file");
    unlink(t.path);
    ck_assert_int_eq(mkfifo(t.path, 0600), 0);
    check_load_refused(t.path, KEK_DENIED, "", ": expected a regular file");
    unlink(t.path);
    check_load_refused(t.path, KEK_NOT_FOUND, "cannot open ", ": No such file or directory");
    ck_assert_int_eq(rmdir(t.folder), 0);
}
END_TEST

START_TEST(a_long_path_leaves_room_for_what_is_wrong)
{
    static const char folder[] = "/\xc3\xa4\xc3\xa4x";
    char path[512] = "";
    struct kek_why why;
    for (size_t i = 0; i < 64; i++) {
        memcpy(path + i * (sizeof folder - 1), folder, sizeof folder);
    }
    /* Each length cuts it at another byte, and never in the middle of a character. */
    for (size_t end = strlen(path); end > 64 * (sizeof folder - 1) - 6; end--) {
        path[end] = '\0';
        ck_assert_ptr_null(kek_config_parse(kek_bytes_of("colour: blue\n"), path, &why));
        ck_assert_int_eq(strncmp(why.text, "...", 3), 0);
        ck_assert_int_ne(why.text[3] & 0xc0, 0x80);
        const char *place = strchr(why.text, ':');
        ck_assert_ptr_nonnull(place);
        ck_assert_str_eq(place,
                         ":1:1: colour: expected one of listen, allow_uids, keyring, context, "
                         "context_accept, data_key, health, refresh, settle, state_dir, "
                         "providers, metrics, audit, log");
    }
    ck_assert_ptr_null(kek_config_load(path, &why));
    ck_assert_ptr_nonnull(strstr(why.text, ": No such file or directory"));
}
END_TEST

#define COUNT(array) (int)(sizeof(array) / sizeof(array)[0])

int main(void)
{
    Suite *suite = suite_create("config");
    TCase *wrong = tcase_create("wrong");
    tcase_add_loop_test(wrong, document_refused_where_it_stops_being_one, 0, COUNT(documents));
    tcase_add_loop_test(wrong, key_refused_when_unknown_repeated_or_missing, 0, COUNT(keys));
    tcase_add_loop_test(wrong, value_refused_with_what_was_expected, 0, COUNT(values));
    tcase_add_loop_test(wrong, keys_refused_when_they_do_not_fit_together, 0, COUNT(together));
    tcase_add_test(wrong, parse_refuses_a_secret_without_showing_it);
    tcase_add_test(wrong, parse_stops_at_its_limits);
    suite_add_tcase(suite, wrong);
    TCase *right = tcase_create("right");
    tcase_add_test(right, lengths_are_accepted_up_to_their_limit);
    tcase_add_test(right, least_config_has_the_documented_defaults);
    tcase_add_test(right, example_parses_and_shows_the_defaults);
    tcase_add_test(right, example_parses_with_everything_in_it);
    tcase_add_test(right, every_key_reaches_its_member);
    tcase_add_test(right, a_version_directive_and_a_byte_order_mark_are_accepted);
    suite_add_tcase(suite, right);
    TCase *file = tcase_create("file");
    tcase_add_test(file, load_reads_a_file_that_only_its_owner_may_write);
    tcase_add_test(file, load_refuses_a_file_of_somebody_else);
    tcase_add_test(file, load_names_the_file_in_what_is_wrong);
    tcase_add_test(file, a_long_path_leaves_room_for_what_is_wrong);
    suite_add_tcase(suite, file);
    return suite_run(suite);
}
