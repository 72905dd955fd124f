/* The configuration: where exactly it says what is wrong. */
#include "config_help.h"

#include <stdio.h>

#ifdef KEK_BRIDGE
#define TYPES "pkcs11, transit or gcpkms"
#else
#define TYPES "pkcs11 (this kekd is built without transit and gcpkms: --disable-bridge)"
#endif

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

static const struct wrong documents[] = {
    {"", "f:1:1: expected a mapping, found nothing"},
    {"# only a remark\n", "f:1:1: expected a mapping, found nothing"},
    {"- a\n", "f:1:1: expected a mapping, found a list"},
    {"hello\n", "f:1:1: expected a mapping, found something else"},
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
     "f:7:5: providers[0].pin: expected one of name, type, processes, sessions, timeout, "
     "start_timeout, recycle_after, recycle_memory, env, user, groups, versions, uri, strategy, "
     "init_args"},
    {BASE "    stategy: auto\n",
     "f:7:5: providers[0].stategy: expected a known key, did you mean \"strategy\"?"},
    {BASE "    strategy: auto\n    strategy: auto\n",
     "f:8:5: providers[0].strategy: expected once, found again (first at 7:5)"},
    {BASE "strategy: auto\n",
     "f:7:1: strategy: expected one of listen, allow_uids, keyring, context, context_accept, "
     "data_key, health, refresh, settle, destroy_after, quarantine, state_dir, providers, mode, "
     "mode_accept, roots, metrics, status, etcd, audit, log"},
    {BASE "mode: any\n", "f:7:7: mode: expected `roots` beside it: with one root of trust there is "
                         "nothing to choose"},
    {BASE "mode_accept: any\n", "f:7:14: mode_accept: expected several `roots` beside it: with one "
                                "root of trust there is one mode"},
    {BASE "mode_accept: all\nroots: [{name: x, providers: [a]}]\n",
     "f:7:14: mode_accept: expected several `roots` beside it: with one root of trust there is one "
     "mode"},
    {TWO "roots: [{name: x, providers: [a]}, {name: y, providers: [b]}]\n",
     "f:10:8: roots: expected `mode` beside it: any (each root opens alone) or all (every one is "
     "needed)"},
    {TWO "mode: any\nroots: [{name: x, providers: [a]}, {name: x, providers: [b]}]\n",
     "f:11:43: roots[1].name: expected each name once, found \"x\" again"},
    {TWO "mode: any\nroots: [{name: x, providers: [a]}, {name: y, providers: [c]}]\n",
     "f:11:57: roots[1].providers: expected names of `providers`, found \"c\""},
    {TWO "mode: any\nroots: [{name: x, providers: [a]}, {name: y, providers: [b, a]}]\n",
     "f:11:57: roots[1].providers: expected each provider in one root, found \"a\" again"},
    {TWO "mode: any\nroots: [{name: x, providers: [a]}, {name: y, providers: []}]\n",
     "f:11:57: roots[1].providers: expected at least one provider, found \"\""},
    {TWO "roots: [{name: x, providers: [a]}]\n",
     "f:10:8: roots: expected each provider in one root, found one in none: b"},
    {BASE "mode: all\nroots: [{name: x, providers: [a]}]\n",
     "f:7:7: mode: expected several `roots`, or no mode: with one root of trust nothing is shared "
     "out"},
    {TWO
     "mode: any\nroots: [{name: x, providers: [a]}, {name: y, needed: false, providers: [b]}]\n",
     "f:11:54: roots[1].needed: expected `mode` or `mode_accept` all beside it, found \"false\": "
     "in "
     "mode any no root is needed"},
    {TWO "mode: all\nroots: [{name: x, providers: [a]}, {name: y, seals: false, providers: [b]}]\n",
     "f:11:8: roots: expected with mode all two or more roots that seal and are needed: found one, "
     "whose HSM alone would open everything"},
    {TWO
     "mode: all\nroots: [{name: x, needed: false, providers: [a]}, {name: y, providers: [b]}]\n",
     "f:11:8: roots: expected with mode all two or more roots that seal and are needed: found one, "
     "whose HSM alone would open everything"},
    {TWO "mode: all\nroots: [{name: x, needed: false, providers: [a]}, {name: y, needed: false, "
         "providers: [b]}]\n",
     "f:11:8: roots: expected with mode all two or more roots that seal and are needed: found "
     "none"},
    {TWO "mode: any\nroots: [{name: x, seals: false, providers: [a]}, {name: y, seals: false, "
         "providers: [b]}]\n",
     "f:11:8: roots: expected a root that seals, found none"},
    {TWO
     "mode: any\nmode_accept: any\nroots: [{name: x, providers: [a]}, {name: y, providers: [b]}]\n",
     "f:11:14: mode_accept: expected the other mode than `mode`, which opens anyhow"},
    {TWO
     "mode: all\nmode_accept: all\nroots: [{name: x, providers: [a]}, {name: y, providers: [b]}]\n",
     "f:11:14: mode_accept: expected the other mode than `mode`, which opens anyhow"},
    {TWO "mode: both\n", "f:10:7: mode: expected any or all, found \"both\""},
    {"providers: [{uri: \"" URI "\", strategy: auto, type: pkcs12}]\n",
     "f:1:98: providers[0].type: expected " TYPES ", found \"pkcs12\""},
    {"listen: unix:///s\nkeyring: k\nproviders:\n  - uri: \"" URI "\"\n    name: a\n",
     "f:4:5: providers[0].type: expected this key, found it missing"},
    {BASE "health: {frobnicate: 1}\n",
     "f:7:10: health.frobnicate: expected one of probe_interval, canary_interval, grace"},
    {BASE "\"a\\e[31m\": 1\n",
     "f:7:1: a\\x1b[31m: expected one of listen, allow_uids, keyring, "
     "context, context_accept, data_key, health, refresh, settle, "
     "destroy_after, quarantine, "
     "state_dir, providers, mode, mode_accept, roots, metrics, status, etcd, audit, log"},
    {BASE "keyring: other\n", "f:7:1: keyring: expected once, found again (first at 2:1)"},
    {BASE "log: {level: info, level: warn}\n",
     "f:7:20: log.level: expected once, found again (first at 7:7)"},
    {BASE "    env: {A: x, A: y}\n",
     "f:7:17: providers[0].env.A: expected once, found again (first at 7:11)"},
    {"keyring: k\n", "f:1:1: listen: expected this key, found it missing"},
    {"listen: unix:///s\nkeyring: k\n", "f:1:1: providers: expected this key, found it missing"},
    {"\nlisten: unix:///s\nkeyring: k\nproviders:\n  - name: a\n    type: pkcs11\n",
     "f:5:5: providers[0].uri: expected this key, found it missing"},
    {BASE "audit: {}\n", "f:7:8: audit: expected file, journal or syslog, found none of them"},
    {BASE "audit: {mac_interval: 1m}\n",
     "f:7:8: audit: expected file, journal or syslog, found none of them"},
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

#define STATUS "listen: 127.0.0.1:1, cert: /c, key: /k, ca: /a"
#define NODE \
    "expected a node's HOST:PORT, such as \"cp1.example.org:9479\" or \"[::1]:9479\", found "

#define ETCD "name: main, endpoints: [https://cp1:2379]"
#define ENDPOINT \
    "expected https://HOST:PORT (or http://), such as \"https://10.0.0.11:2379\", found "
#define PREFIX                                                                            \
    "expected an absolute prefix of at most 255 bytes without \"/\" at its end, such as " \
    "\"/registry\", found "

static const struct wrong values[] = {
    {BASE "data_key: 5\n", "f:7:11: data_key: expected a mapping, found \"5\""},
    {BASE "data_key:\n", "f:7:10: data_key: expected a mapping, found nothing"},
    {BASE "data_key: {max_uses: many}\n",
     "f:7:22: data_key.max_uses: " NUMBER "1 to 1000000000, found \"many\""},
    {BASE "data_key: {max_uses: 0}\n",
     "f:7:22: data_key.max_uses: " NUMBER "1 to 1000000000, found \"0\""},
    {BASE "data_key: {max_uses: 1000000001}\n",
     "f:7:22: data_key.max_uses: " NUMBER "1 to 1000000000, found \"1000000001\""},
    {BASE "data_key: {max_uses: 18446744073709551617}\n",
     "f:7:22: data_key.max_uses: " NUMBER "1 to 1000000000, found \"18446744073709551617\""},
    {BASE "data_key: {max_uses: -1}\n",
     "f:7:22: data_key.max_uses: " NUMBER "1 to 1000000000, found \"-1\""},
    {BASE "data_key: {max_uses: 1e3}\n",
     "f:7:22: data_key.max_uses: " NUMBER "1 to 1000000000, found \"1e3\""},
    {BASE "data_key: {max_uses: \"5\"}\n",
     "f:7:22: data_key.max_uses: " NUMBER "1 to 1000000000 without quotes, found \"5\""},
    {BASE "data_key: {max_uses: [5]}\n",
     "f:7:22: data_key.max_uses: " NUMBER "1 to 1000000000, found a list"},
    {BASE "data_key: {cache_entries: 1000001}\n",
     "f:7:27: data_key.cache_entries: " NUMBER "1 to 1000000, found \"1000001\""},
    {BASE "data_key: {max_age: 999ms}\n",
     "f:7:21: data_key.max_age: " DURATION "1s to 720h, found \"999ms\""},
    {BASE "data_key: {cache_ttl: 60}\n",
     "f:7:23: data_key.cache_ttl: " DURATION "1s to 720h, found \"60\""},
    {BASE "health: {probe_interval: 2h}\n",
     "f:7:26: health.probe_interval: " DURATION "1s to 1h, found \"2h\""},
    {BASE "health: {canary_interval: 999ms}\n",
     "f:7:27: health.canary_interval: " DURATION "1s to 24h, found \"999ms\""},
    {BASE "health: {grace: 169h}\n",
     "f:7:17: health.grace: " DURATION "0ms to 168h, found \"169h\""},
    {BASE "refresh: 15 s\n", "f:7:10: refresh: " DURATION "1s to 1h, found \"15 s\""},
    {BASE "refresh: {}\n", "f:7:10: refresh: " DURATION "1s to 1h, found a mapping"},
    {BASE "destroy_after: 0s\n", "f:7:16: destroy_after: " DURATION "1s to 87600h, found \"0s\""},
    {BASE "quarantine: forever\n",
     "f:7:13: quarantine: " DURATION "1s to 8760h, found \"forever\""},
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
    {BASE "audit: {file: /a, syslog: log}\n",
     "f:7:27: audit.syslog: expected an absolute path of at most 107 bytes, found \"log\""},
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
     "f:1:20: providers[0].type: expected " TYPES ", found \"pkcs12\""},
#ifdef KEK_BRIDGE
    {"providers: [{type: gcpkms, key: kek}]\n",
     "f:1:33: providers[0].key: expected projects/P/locations/L/keyRings/R/cryptoKeys/K, without a "
     "version, found \"kek\""},
    {"providers: [{type: gcpkms, credentials: /etc/kekd/gcp.json}]\n",
     "f:1:41: providers[0].credentials: expected file:/absolute/path, credential:NAME or metadata, "
     "found \"/etc/kekd/gcp.json\""},
    {"providers: [{type: gcpkms, protection: software}]\n",
     "f:1:40: providers[0].protection: expected hsm, hsm-single-tenant or any, found \"software\""},
    {"providers: [{type: gcpkms, endpoint: 'http://cloudkms.googleapis.com:80'}]\n",
     "f:1:38: providers[0].endpoint: expected https://HOST:PORT (or http:// to 127.0.0.1, [::1] or "
     "localhost), found \"http://cloudkms.googleapis.com:80\""},
    {"providers: [{type: gcpkms, proxy: 'proxy:3128'}]\n",
     "f:1:35: providers[0].proxy: expected http://, https:// or socks5h://HOST:PORT, found "
     "\"proxy:3128\""},
    {"providers: [{name: a, type: gcpkms, credentials: metadata}]\n",
     "f:1:13: providers[0].key: expected this key, found it missing"},
    {"providers: [{type: gcpkms, attestation: yes}]\n",
     "f:1:41: providers[0].attestation: expected off, warn or require, found \"yes\""},
    {"providers: [{name: a, type: gcpkms, credentials: metadata, "
     "key: projects/p/locations/l/keyRings/r/cryptoKeys/k, owner_root: /a, attestation: warn}]\n",
     "f:1:13: providers[0].attestation: expected manufacturer_root and owner_root beside it: a "
     "statement is verified by both"},
    {"providers: [{name: a, type: gcpkms, credentials: metadata, "
     "key: projects/p/locations/l/keyRings/r/cryptoKeys/k, "
     "versions: [{n: 1, state: active}, {n: 2, label: x, state: active}]}]\n",
     "f:1:154: providers[0].versions[1].label: expected no such key: a version of Cloud KMS has "
     "only its number"},
#endif
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
     "f:7:30: providers[0].versions[0].state: expected pre-active, active, deactivated, "
     "suspended or compromised, found \"disabled\""},
    {BASE "status: {}\n", "f:7:9: status.listen: expected this key, found it missing"},
    {BASE "status: {" STATUS ", allow: []}\n",
     "f:7:65: status.allow: expected at least one name, or no section status at all"},
    {BASE "status: {" STATUS ", allow: [\"\"]}\n",
     "f:7:66: status.allow[0]: expected the CN or a DNS name of a client's certificate, 1 to 253 "
     "bytes, found \"\""},
    {BASE "status: {" STATUS ", allow: [\"a\\tb\"]}\n",
     "f:7:66: status.allow[0]: expected the CN or a DNS name of a client's certificate, 1 to 253 "
     "bytes, found \"a\\x09b\""},
    {BASE "status: {" STATUS ", allow: [a], name: a/b}\n",
     "f:7:76: status.name: expected a node's name of 1 to 253 letters, digits, \".\", \"-\" and "
     "\"_\", found \"a/b\""},
    {BASE "status: {listen: cp1:9479}\n", "f:7:18: status.listen: " ADDRESS "\"cp1:9479\""},
    {BASE "status: {cert: cert.pem}\n",
     "f:7:16: status.cert: expected an absolute path of at most 4000 bytes, found \"cert.pem\""},
    {BASE "status: {nodes: [cp1]}\n", "f:7:18: status.nodes[0]: " NODE "\"cp1\""},
    {BASE "status: {nodes: [\"cp1:0\"]}\n", "f:7:18: status.nodes[0]: " NODE "\"cp1:0\""},
    {BASE "status: {nodes: [\"-o:1\"]}\n", "f:7:18: status.nodes[0]: " NODE "\"-o:1\""},
    {BASE "status: {nodes: [\"a@b:1\"]}\n", "f:7:18: status.nodes[0]: " NODE "\"a@b:1\""},
    {BASE "status: {nodes: [\"::1:1\"]}\n", "f:7:18: status.nodes[0]: " NODE "\"::1:1\""},
    {BASE "status: {nodes: [\"[::1:1\"]}\n", "f:7:18: status.nodes[0]: " NODE "\"[::1:1\""},
    {BASE "status: {nodes: [\"https://cp1:1\"]}\n",
     "f:7:18: status.nodes[0]: " NODE "\"https://cp1:1\""},
    {BASE "status: {nodes: [\"cp1:1\", \"CP1:1\"]}\n",
     "f:7:27: status.nodes[1]: expected each node once, found \"CP1:1\" again"},
    {BASE "etcd: []\n", "f:7:7: etcd: expected a list of 1 to 16 mappings, found one of 0"},
    {BASE "etcd: [{endpoints: [http://h:1]}]\n",
     "f:7:8: etcd[0].name: expected this key, found it missing"},
    {BASE "etcd: [{name: A}]\n",
     "f:7:15: etcd[0].name: expected 1 to 32 of a-z, 0-9 and \"-\", found \"A\""},
    {BASE "etcd: [{name: m}]\n", "f:7:8: etcd[0].endpoints: expected this key, found it missing"},
    {BASE "etcd: [{name: m, endpoints: []}]\n",
     "f:7:29: etcd[0].endpoints: expected at least one endpoint"},
    {BASE "etcd: [{name: m, endpoints: [\"h:1\"]}]\n",
     "f:7:30: etcd[0].endpoints[0]: " ENDPOINT "\"h:1\""},
    {BASE "etcd: [{name: m, endpoints: [https://h]}]\n",
     "f:7:30: etcd[0].endpoints[0]: " ENDPOINT "\"https://h\""},
    {BASE "etcd: [{name: m, endpoints: [https://h:1/v3]}]\n",
     "f:7:30: etcd[0].endpoints[0]: " ENDPOINT "\"https://h:1/v3\""},
    {BASE "etcd: [{name: m, endpoints: [https://u:p@h:1]}]\n",
     "f:7:30: etcd[0].endpoints[0]: " ENDPOINT "\"https://u:p@h:1\""},
    {BASE "etcd: [{name: m, endpoints: [https://h:1, https://H:1]}]\n",
     "f:7:43: etcd[0].endpoints[1]: expected each endpoint once, found \"https://H:1\" again"},
    {BASE "etcd: [{" ETCD ", prefix: registry}]\n",
     "f:7:60: etcd[0].prefix: " PREFIX "\"registry\""},
    {BASE "etcd: [{" ETCD ", prefix: /a/}]\n", "f:7:60: etcd[0].prefix: " PREFIX "\"/a/\""},
    {BASE "etcd: [{" ETCD ", prefix: /a/../b}]\n", "f:7:60: etcd[0].prefix: " PREFIX "\"/a/../b\""},
    {BASE "etcd: [{" ETCD ", user: \"a:b\"}]\n",
     "f:7:58: etcd[0].user: expected the name of an etcd user of 1 to 255 bytes, without blanks "
     "and \":\", found \"a:b\""},
    {BASE "etcd: [{" ETCD ", ca: ca.crt}]\n",
     "f:7:56: etcd[0].ca: expected an absolute path of at most 4000 bytes, found \"ca.crt\""},
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
    {BASE "etcd: [{" ETCD ", cert: /c}]\n",
     "f:7:52: etcd[0].cert: expected key beside it, found none"},
    {BASE "etcd: [{" ETCD ", password_file: /p}]\n",
     "f:7:52: etcd[0].password_file: expected user beside it, found none"},
    {BASE "etcd: [{name: m, user: u, password_file: /p,\n"
          "  endpoints: [https://h:1, \"http://[::1]:1\", http://127.1.2.3:1, http://127.a:1]}]\n",
     "f:8:66: etcd[0].endpoints[3]: expected https where a password goes to another machine, "
     "found \"http://127.a:1\""},
    {BASE "etcd: [{name: m, ca: /a, endpoints: [https://h:1, http://h:2]}]\n",
     "f:7:51: etcd[0].endpoints[1]: expected https beside ca or cert, found \"http://h:2\""},
    {BASE "etcd:\n  - {" ETCD "}\n  - {name: main, endpoints: [https://x:1]}\n",
     "f:9:12: etcd[1].name: expected each name once, found \"main\" again"},
    {BASE "etcd:\n  - {" ETCD "}\n"
          "  - {name: b, endpoints: [https://x:1, https://CP1:2379], prefix: /b}\n"
          "  - {name: c, endpoints: [https://y:1, https://CP1:2379]}\n",
     "f:10:5: etcd[2]: expected each etcd once, found an endpoint of \"main\" with the same "
     "prefix"},
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
    return suite_run(suite);
}
