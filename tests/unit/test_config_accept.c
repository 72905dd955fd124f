/* The configuration: what it accepts, and what comes of it. */
#include "config_help.h"

#include <stdio.h>

static struct kek_config *accept(const char *yaml)
{
    struct kek_why why = {.rc = KEK_OK};
    struct kek_config *config = kek_config_parse(kek_bytes_of(yaml), "f", &why);
    ck_assert_msg(config != NULL, "%s", why.text);
    return config;
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

static void check_defaults(const struct kek_config *c)
{
    ck_assert_str_eq(c->context, "");
    ck_assert_ptr_null(c->context_accept[0]);
    ck_assert_uint_eq(c->data_key.max_uses, 100000);
    ck_assert_uint_eq(c->data_key.max_age_ms, 3600 * 1000);
    ck_assert_uint_eq(c->data_key.cache_entries, 4096);
    ck_assert_uint_eq(c->data_key.cache_ttl_ms, 3600 * 1000);
    ck_assert_uint_eq(c->health.probe_interval_ms, 60 * 1000);
    ck_assert_uint_eq(c->health.canary_interval_ms, 10 * 60 * 1000);
    ck_assert_uint_eq(c->health.grace_ms, 15 * 60 * 1000);
    ck_assert_uint_eq(c->refresh_ms, 15 * 1000);
    ck_assert_uint_eq(c->settle_ms, 60 * 1000);
    ck_assert_uint_eq(c->destroy_after_ms, UINT64_C(720) * 3600 * 1000);
    ck_assert_uint_eq(c->quarantine_ms, 24 * 3600 * 1000);
    ck_assert_str_eq(c->state_dir, "/var/lib/kekd");
    ck_assert_int_eq(c->log_level, KEK_LOG_INFO);
    ck_assert_int_eq(c->log_format, KEK_LOG_TEXT);
    ck_assert_uint_eq(c->provider_count, 1);
    const struct kek_config_provider *p = &c->providers[0];
    ck_assert_str_eq(p->type, "pkcs11");
    ck_assert_str_eq(kek_config_setting(p, "strategy"), "auto");
    ck_assert_uint_eq(p->processes, 2);
    ck_assert_uint_eq(p->sessions, 4);
    ck_assert_uint_eq(p->timeout_ms, 1000);
    ck_assert_uint_eq(p->start_timeout_ms, 30 * 1000);
    ck_assert_uint_eq(p->recycle_after, 200000);
    ck_assert_uint_eq(p->recycle_memory, 64 * 1024 * 1024);
    ck_assert_ptr_null(p->env);
    ck_assert_ptr_null(kek_config_setting(p, "init_args"));
    ck_assert_ptr_null(p->user);
    ck_assert_ptr_null(p->groups);
    ck_assert_uint_eq(p->version_count, 0);
}

/* What the token shows of a version: W it may wrap, U unwrap, * it is marked, ! it may not be used. */
static const struct {
    const char *state, *shown, *unmet;
} held[] = {
    {"active", "WU", NULL},
    {"active", "U", "does not let it wrap"},
    {"active", "U*", "has it marked as compromised"},
    {"active", "", "does not let it unwrap"},
    {"active", "!WU", "shows no such key that may be used"},
    {"active", NULL, "shows no such key that may be used"},
    {"pre-active", "U", NULL},
    {"pre-active", "", "does not let it unwrap"},
    {"deactivated", "U", NULL},
    {"deactivated", "U*", NULL},
    {"deactivated", "", "does not let it unwrap"},
    {"compromised", "U*", NULL},
    {"compromised", "*", "does not let it unwrap"},
    {"suspended", "", NULL},
    {"suspended", NULL, "shows no such key that may be used"},
};

START_TEST(a_named_state_is_held_against_what_the_token_shows)
{
    char yaml[512];
    snprintf(yaml, sizeof yaml, BASE "    versions: [{n: 7, state: %s}]\n", held[_i].state);
    KEK_AUTO(kek_config) c = accept(yaml);
    const struct kek_config_version *named = &c->providers[0].versions[0];
    ck_assert_str_eq(kek_state_name(named->state), held[_i].state);
    const char *shown = held[_i].shown == NULL ? "" : held[_i].shown;
    const struct kek_version versions[] = {
        {.number = 6, .eligible = true, .can_wrap = true, .can_unwrap = true},
        {.number = 7,
         .eligible = strchr(shown, '!') == NULL,
         .can_wrap = strchr(shown, 'W') != NULL,
         .can_unwrap = strchr(shown, 'U') != NULL,
         .compromised = strchr(shown, '*') != NULL},
    };
    const char *unmet = kek_config_version_unmet(named, versions, held[_i].shown == NULL ? 1 : 2);
    ck_assert_str_eq(unmet == NULL ? "" : unmet, held[_i].unmet == NULL ? "" : held[_i].unmet);
}
END_TEST

START_TEST(least_config_has_the_documented_defaults)
{
    KEK_AUTO(kek_config) c = accept(BASE);
    check_defaults(c);
    ck_assert_str_eq(c->path, "f");
    ck_assert_str_eq(c->listen, "/run/kms.sock");
    ck_assert_str_eq(c->keyring, "k");
    ck_assert_str_eq(c->providers[0].name, "a");
    ck_assert_str_eq(kek_config_setting(&c->providers[0], "uri"), URI);
    ck_assert_ptr_null(c->metrics_host);
    ck_assert_ptr_null(c->audit_file);
    char host[254] = "";
    ck_assert_int_eq(gethostname(host, sizeof host - 1), 0);
    ck_assert_str_eq(c->status.name, host);
    ck_assert_ptr_null(c->status.host);
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
    ck_assert_ptr_null(c->audit_journal);
    ck_assert_ptr_null(c->audit_syslog);
    ck_assert_uint_eq(c->audit_mac_interval_ms, 60000);
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
    ck_assert_uint_eq(taken, 27);
    KEK_AUTO(kek_config) c = accept(text);
    free(text);
    const struct kek_config_provider *p = &c->providers[0];
    ck_assert_str_eq(c->context_accept[0], "old");
    ck_assert_str_eq(p->env[0], "ChrystokiConfigurationPath=/etc/luna");
    ck_assert_str_eq(p->user, "kekd-hsm");
    ck_assert_str_eq(p->groups[0], "nfast");
    ck_assert_uint_eq(p->version_count, 1);
    ck_assert_str_eq(p->versions[0].label, "made-by-the-officers");
    ck_assert_str_eq(c->status.host, "10.0.0.11");
    ck_assert_str_eq(c->status.nodes[2], "cp3:9479");
    ck_assert_str_eq(c->audit_journal, "/run/systemd/journal/socket");
    ck_assert_str_eq(c->audit_syslog, "/dev/log");
    ck_assert_uint_eq(c->etcd_count, 1);
    ck_assert_str_eq(c->etcd[0].endpoints[1], "https://10.0.0.12:2379");
}
END_TEST

static void check_etcds(const struct kek_config *c)
{
    ck_assert_uint_eq(c->etcd_count, 2);
    const struct kek_config_etcd *one = &c->etcd[0], *other = &c->etcd[1];
    ck_assert_str_eq(one->name, "main");
    ck_assert_str_eq(one->endpoints[0], "https://cp1:2379");
    ck_assert_str_eq(one->endpoints[1], "https://[::1]:2379");
    ck_assert_ptr_null(one->endpoints[2]);
    ck_assert_str_eq(one->ca, "/ca");
    ck_assert_str_eq(one->cert, "/cert");
    ck_assert_str_eq(one->key, "/key");
    ck_assert_str_eq(one->user, "u");
    ck_assert_str_eq(one->password_file, "/pw");
    ck_assert_str_eq(one->prefix, "/a/b");
    ck_assert_str_eq(one->context, "c2");
    ck_assert_str_eq(other->name, "e-2");
    ck_assert_str_eq(other->endpoints[0], "http://10.0.0.1:1");
    ck_assert_ptr_null(other->ca);
    ck_assert_ptr_null(other->cert);
    ck_assert_ptr_null(other->user);
    ck_assert_str_eq(other->prefix, "/registry");
    ck_assert_str_eq(other->context, "a b"); /* what the file has as its own */
}

/* Every key of a configuration whose providers are tokens. */
static const char every_key[] =
    "listen: unix:///s\nallow_uids: [7, 8]\nkeyring: 0.k-1\ncontext: \"a b\"\n"
    "context_accept: [\"\", x]\n"
    "data_key: {max_uses: 1, max_age: 90s, cache_entries: 7, cache_ttl: 2m}\n"
    "health: {probe_interval: 5s, canary_interval: 24h, grace: 0s}\nrefresh: 1h\nsettle: 1500ms\n"
    "state_dir: /s\n"
    "destroy_after: 90s\nquarantine: 2h\n"
    "providers:\n"
    "- {name: a-1, type: pkcs11, uri: \"" URI "\", strategy: encrypt, processes: 16,\n"
    "   sessions: 64, timeout: 250ms, start_timeout: 1m, recycle_after: 9,\n"
    "   recycle_memory: 2GiB, env: {LD_LIBRARY_PATH: /v, B_2: \"\"}, init_args: \"a='b'\",\n"
    "   user: _u, groups: [g, h.1], versions: [{n: 4294967295, state: pre-active},\n"
    "   {n: 2, label: two, state: deactivated}]}\n"
    "- {name: b, type: pkcs11, uri: \"" URI "\", strategy: wrap-key}\n"
    "metrics: \"[::1]:65535\"\n"
    "status: {listen: \"[::2]:1\", cert: /c, key: /k, ca: /a, allow: [\"a b\", c.d],\n"
    "  nodes: [\"[::1]:9479\", cp_2.example.org:1], name: n-1}\n"
    "etcd:\n- {name: main, endpoints: [https://cp1:2379, \"https://[::1]:2379\"], ca: /ca,\n"
    "   cert: /cert, key: /key, user: u, password_file: /pw, prefix: /a/b, context: c2}\n"
    "- {name: e-2, endpoints: [http://10.0.0.1:1]}\n"
    "audit: {file: /a, journal: /j, syslog: /dev/log, mac_interval: 90s}\nlog: {level: debug, "
    "format: json}\n";

static void check_times_and_counts(const struct kek_config *c)
{
    ck_assert_uint_eq(c->data_key.max_uses, 1);
    ck_assert_uint_eq(c->data_key.max_age_ms, 90000);
    ck_assert_uint_eq(c->data_key.cache_entries, 7);
    ck_assert_uint_eq(c->data_key.cache_ttl_ms, 120000);
    ck_assert_uint_eq(c->health.probe_interval_ms, 5000);
    ck_assert_uint_eq(c->health.canary_interval_ms, 24 * 3600 * 1000);
    ck_assert_uint_eq(c->health.grace_ms, 0);
    ck_assert_uint_eq(c->refresh_ms, 3600000);
    ck_assert_uint_eq(c->settle_ms, 1500);
    ck_assert_uint_eq(c->destroy_after_ms, 90000);
    ck_assert_uint_eq(c->quarantine_ms, 2 * 3600 * 1000);
}

static void check_status(const struct kek_config *c)
{
    ck_assert_str_eq(c->status.host, "::2");
    ck_assert_uint_eq(c->status.port, 1);
    ck_assert_str_eq(c->status.cert, "/c");
    ck_assert_str_eq(c->status.key, "/k");
    ck_assert_str_eq(c->status.ca, "/a");
    ck_assert_str_eq(c->status.allow[0], "a b");
    ck_assert_str_eq(c->status.allow[1], "c.d");
    ck_assert_ptr_null(c->status.allow[2]);
    ck_assert_str_eq(c->status.nodes[0], "[::1]:9479");
    ck_assert_str_eq(c->status.nodes[1], "cp_2.example.org:1");
    ck_assert_ptr_null(c->status.nodes[2]);
    ck_assert_str_eq(c->status.name, "n-1");
}

static void check_providers(const struct kek_config *c)
{
    ck_assert_uint_eq(c->provider_count, 2);
    const struct kek_config_provider *p = &c->providers[0];
    ck_assert_str_eq(kek_config_setting(p, "strategy"), "encrypt");
    ck_assert_str_eq(kek_config_setting(p, "uri"), URI);
    ck_assert_uint_eq(p->setting_count, 3);
    ck_assert_uint_eq(p->processes, 16);
    ck_assert_uint_eq(p->sessions, 64);
    ck_assert_uint_eq(p->timeout_ms, 250);
    ck_assert_uint_eq(p->start_timeout_ms, 60000);
    ck_assert_uint_eq(p->recycle_after, 9);
    ck_assert_uint_eq(p->recycle_memory, UINT64_C(2) << 30);
    ck_assert_str_eq(p->env[0], "LD_LIBRARY_PATH=/v");
    ck_assert_str_eq(p->env[1], "B_2=");
    ck_assert_ptr_null(p->env[2]);
    ck_assert_str_eq(kek_config_setting(p, "init_args"), "a='b'");
    ck_assert_str_eq(p->user, "_u");
    ck_assert_str_eq(p->groups[1], "h.1");
    ck_assert_ptr_null(p->groups[2]);
    ck_assert_uint_eq(p->version_count, 2);
    ck_assert_uint_eq(p->versions[0].number, UINT32_MAX);
    ck_assert_ptr_null(p->versions[0].label);
    ck_assert_int_eq(p->versions[0].state, KEK_STATE_PRE_ACTIVE);
    ck_assert_str_eq(p->versions[1].label, "two");
    ck_assert_int_eq(p->versions[1].state, KEK_STATE_DEACTIVATED);
    ck_assert_str_eq(kek_config_setting(&c->providers[1], "strategy"), "wrap-key");
}

START_TEST(every_key_reaches_its_member)
{
    KEK_AUTO(kek_config) c = accept(every_key);
    check_etcds(c);
    check_times_and_counts(c);
    check_status(c);
    check_providers(c);
    ck_assert_uint_eq(c->allow_uid_count, 2);
    ck_assert_uint_eq(c->allow_uids[1], 8);
    ck_assert_str_eq(c->keyring, "0.k-1");
    ck_assert_str_eq(c->context, "a b");
    ck_assert_str_eq(c->context_accept[0], "");
    ck_assert_str_eq(c->context_accept[1], "x");
    ck_assert_ptr_null(c->context_accept[2]);
    ck_assert_str_eq(c->state_dir, "/s");
    ck_assert_str_eq(c->metrics_host, "::1");
    ck_assert_uint_eq(c->metrics_port, 65535);
    ck_assert_str_eq(c->audit_file, "/a");
    ck_assert_str_eq(c->audit_journal, "/j");
    ck_assert_str_eq(c->audit_syslog, "/dev/log");
    ck_assert_uint_eq(c->audit_mac_interval_ms, 90000);
    ck_assert_int_eq(c->log_level, KEK_LOG_DEBUG);
    ck_assert_int_eq(c->log_format, KEK_LOG_JSON);
}
END_TEST

START_TEST(a_version_directive_and_a_byte_order_mark_are_accepted)
{
    kek_config_free(accept("%YAML 1.1\n---\n" BASE "...\n"));
    kek_config_free(accept("\xef\xbb\xbf" BASE));
}
END_TEST

START_TEST(audit_log_is_the_first_of_file_journal_and_syslog)
{
    static const struct {
        const char *audit, *log;
    } rows[] = {
        {"", NULL},
        {"audit: {file: /a, journal: /j, syslog: /s}\n", "/a"},
        {"audit: {syslog: /s, journal: /j}\n", "/j"},
        {"audit: {syslog: /s}\n", "/s"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[1024];
        snprintf(text, sizeof text, BASE "%s", rows[i].audit);
        KEK_AUTO(kek_config) c = accept(text);
        const char *log = kek_config_audit_log(c);
        ck_assert(rows[i].log == NULL ? log == NULL : strcmp(log, rows[i].log) == 0);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config accept");
    TCase *right = tcase_create("right");
    tcase_add_test(right, lengths_are_accepted_up_to_their_limit);
    tcase_add_loop_test(right, a_named_state_is_held_against_what_the_token_shows, 0,
                        sizeof held / sizeof held[0]);
    tcase_add_test(right, least_config_has_the_documented_defaults);
    tcase_add_test(right, example_parses_and_shows_the_defaults);
    tcase_add_test(right, example_parses_with_everything_in_it);
    tcase_add_test(right, every_key_reaches_its_member);
    tcase_add_test(right, audit_log_is_the_first_of_file_journal_and_syslog);
    tcase_add_test(right, a_version_directive_and_a_byte_order_mark_are_accepted);
    suite_add_tcase(suite, right);
    return suite_run(suite);
}
