/* The parts of kekctl doctor that ask nobody: units, limits, an API server's command line, lines. */
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kek/durable.h"
#include "kekctl/audit/pace.h"
#include "kekctl/doctor/below.h"
#include "kekctl/doctor/doctor.h"
#include "kekctl/doctor/limits.h"
#include "kekctl/key/backup.h"

static struct unit unit;

static void parse(const char *text)
{
    struct kek_why why = {.text = ""};
    unit_done(&unit);
    ck_assert_msg(unit_parse(&unit, kek_bytes_of(text), &why) == KEK_OK, "%s", why.text);
}

static void parse_shipped(void)
{
    char path[PATH_MAX];
    struct kek_why why = {.text = ""};
    const char *source = getenv("abs_top_srcdir");
    snprintf(path, sizeof path, "%s/deploy/kekd.service.in", source == NULL ? ".." : source);
    unit_done(&unit);
    ck_assert_msg(unit_read(&unit, path, &why) == KEK_OK, "%s", why.text);
}

static void done(void)
{
    unit_done(&unit);
}

START_TEST(a_unit_is_read_as_systemd_reads_it)
{
    parse(
        "# comment\n; another\n[Unit]\nRequires=a.socket b.socket\n\n[Service]\n"
        " User = kekd \nUser=other\nGroups=a \\\n b\nEnvironment=A=1 \"B=two words\" 'C=3'\nEnd=1");
    ck_assert_str_eq(unit_value(&unit, "Service", "User"), "other");
    ck_assert_str_eq(unit_value(&unit, "Service", "End"), "1");
    ck_assert_ptr_null(unit_value(&unit, "Unit", "User"));
    ck_assert(unit_lists(&unit, "Unit", "Requires", "b.socket"));
    ck_assert(!unit_lists(&unit, "Unit", "Requires", "b.sock"));
    ck_assert(unit_lists(&unit, "Service", "Groups", "b"));
    ck_assert(unit_lists(&unit, "Service", "Environment", "B=two words"));
    ck_assert(unit_lists(&unit, "Service", "Environment", "C=3"));
}
END_TEST

START_TEST(an_empty_assignment_takes_back_what_came_before)
{
    parse("[Service]\nUser=a\nUser=\nReadWritePaths=/a\nReadWritePaths=\nReadWritePaths=/b\n");
    ck_assert_ptr_null(unit_value(&unit, "Service", "User"));
    ck_assert(!unit_lists(&unit, "Service", "ReadWritePaths", "/a"));
    ck_assert(unit_lists(&unit, "Service", "ReadWritePaths", "/b"));
}
END_TEST

START_TEST(what_is_no_unit_is_refused)
{
    static const char *const wrong[] = {"User=before a section\n", "[Service]\nno assignment\n"};
    struct kek_why why;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        unit_done(&unit);
        ck_assert_int_eq(unit_parse(&unit, kek_bytes_of(wrong[i]), &why), KEK_INVALID);
    }
    static char large[UNIT_BYTES_MAX + 1], many[UNIT_ENTRIES_MAX * 4 + 16];
    memset(large, '\n', sizeof large);
    ck_assert_int_eq(unit_parse(&unit, kek_bytes(large, sizeof large), &why), KEK_TOO_LARGE);
    size_t at = (size_t)snprintf(many, sizeof many, "[S]\n");
    for (int i = 0; i <= UNIT_ENTRIES_MAX; i++) {
        at += (size_t)snprintf(many + at, sizeof many - at, "a=\n");
    }
    unit_done(&unit);
    ck_assert_int_eq(unit_parse(&unit, kek_bytes_of(many), &why), KEK_TOO_LARGE);
}
END_TEST

START_TEST(the_shipped_unit_is_as_hardened_as_itself)
{
    char text[PATH_MAX + 600];
    parse_shipped();
    ck_assert_msg(unit_unhardened(&unit, text, sizeof text) == 0, "%s", text);
    ck_assert_str_eq(unit_value(&unit, "Service", "User"), "kekd");
    ck_assert(unit_lets_write(&unit, "/var/lib/kekd"));
    ck_assert(unit_lets_write(&unit, "/var/log/kekd/audit.log"));
    ck_assert(!unit_lets_write(&unit, "/var/lib/kekd-other"));
    ck_assert(!unit_lets_write(&unit, "/srv"));
    ck_assert(!unit_lets_see(&unit, "/root/pin"));
    ck_assert(unit_lets_see(&unit, "/rooted/pin"));
}
END_TEST

/* Every "Protect", "Restrict", "Lock" and "NoNew" of the shipped unit must be missed when it is taken out. */
START_TEST(each_hardening_of_the_shipped_unit_is_missed)
{
    static const char *const heads[] = {"Protect",   "Lock",      "NoNew",     "UMask",
                                        "RestrictN", "RestrictR", "RestrictS", "SystemCallArch"};
    size_t found = 0;
    parse_shipped();
    for (size_t i = 0; i < unit.count; i++) {
        struct unit_entry *entry = &unit.entries[i];
        bool hardens = false;
        for (size_t k = 0; k < sizeof heads / sizeof heads[0]; k++) {
            hardens = hardens || strncmp(entry->key, heads[k], strlen(heads[k])) == 0;
        }
        if (!hardens) {
            continue;
        }
        char text[PATH_MAX + 600], *key = entry->key;
        entry->key = entry->section;
        ck_assert_msg(unit_unhardened(&unit, text, sizeof text) == 1, "%s", key);
        ck_assert_ptr_nonnull(strstr(text, key));
        entry->key = key;
        found++;
    }
    ck_assert_uint_ge(found, 15);
}
END_TEST

START_TEST(a_sandbox_says_what_may_be_written_and_seen)
{
    parse("[Service]\nProtectSystem=full\nProtectHome=tmpfs\nBindPaths=-/home/kekd:/x\n"
          "StateDirectory=a/b c\n");
    ck_assert(unit_lets_write(&unit, "/srv/x"));
    ck_assert(!unit_lets_write(&unit, "/etc/kekd"));
    ck_assert(!unit_lets_write(&unit, "/usr/lib"));
    ck_assert(!unit_lets_see(&unit, "/home/x"));
    parse("[Service]\nProtectSystem=yes\n");
    ck_assert(unit_lets_write(&unit, "/etc/kekd"));
    ck_assert(!unit_lets_write(&unit, "/usr"));
    ck_assert(unit_lets_see(&unit, "/home/x"));
    parse(
        "[Service]\nProtectSystem=strict\nReadWritePaths=-/srv/a +/srv/b/\nStateDirectory=a/b c\n");
    ck_assert(unit_lets_write(&unit, "/srv/a/x"));
    ck_assert(unit_lets_write(&unit, "/srv/b"));
    ck_assert(unit_lets_write(&unit, "/var/lib/a/b"));
    ck_assert(unit_lets_write(&unit, "/var/lib/c"));
    ck_assert(unit_lets_write(&unit, "/dev/shm"));
    ck_assert(!unit_lets_write(&unit, "/srv"));
    parse("[Service]\nProtectSystem=strict\nBindPaths=-/srv/kekd:/var/lib/kekd:rbind /srv/log\n");
    ck_assert(unit_lets_write(&unit, "/var/lib/kekd/k.json"));
    ck_assert(!unit_lets_write(&unit, "/srv/kekd"));
    ck_assert(unit_lets_write(&unit, "/srv/log"));
    parse("[Service]\nProtectHome=read-only\nReadWritePaths=/home/kekd\n");
    ck_assert(unit_lets_see(&unit, "/home/x"));
    ck_assert(!unit_lets_write(&unit, "/home/x"));
    ck_assert(unit_lets_write(&unit, "/home/kekd/state"));
    ck_assert(unit_lets_write(&unit, "/srv"));
    /* The deepest folder counts. */
    parse("[Service]\nReadOnlyPaths=/srv\nReadWritePaths=/srv/kekd /opt\nReadOnlyPaths=/opt/hsm\n");
    ck_assert(!unit_lets_write(&unit, "/srv/log"));
    ck_assert(unit_lets_write(&unit, "/srv/kekd/state"));
    ck_assert(unit_lets_write(&unit, "/opt/x"));
    ck_assert(!unit_lets_write(&unit, "/opt/hsm/x"));
    parse("[Service]\nInaccessiblePaths=-/srv/a\nTemporaryFileSystem=/srv/b:ro "
          "/var:ro\nPrivateTmp=yes\n"
          "BindReadOnlyPaths=/x:/srv/b/x\nBindPaths=/var/lib/kekd\n");
    ck_assert(!unit_lets_see(&unit, "/srv/a/x"));
    ck_assert(unit_lets_see(&unit, "/srv/c"));
    ck_assert(!unit_lets_see(&unit, "/srv/b/y"));
    ck_assert(unit_lets_see(&unit, "/srv/b/x/pin"));
    ck_assert(!unit_lets_see(&unit, "/var/log"));
    ck_assert(unit_lets_see(&unit, "/var/lib/kekd/k.json"));
    ck_assert(!unit_lets_see(&unit, "/tmp/pin"));
    ck_assert(!unit_lets_see(&unit, "/var/tmp/pin"));
    parse("[Service]\nPrivateTmp=no\n");
    ck_assert(unit_lets_see(&unit, "/tmp/pin"));
    parse("");
    ck_assert(unit_lets_write(&unit, "/usr"));
}
END_TEST

static void write_in(const char *folder, const char *name, const char *text)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

/* By their names, whichever folder they are in; of one name the first folder's, which may take it away. */
START_TEST(drop_ins_of_an_installed_unit_count_by_name)
{
    char etc[] = "/tmp/kekd-unit-etc-XXXXXX", lib[] = "/tmp/kekd-unit-lib-XXXXXX";
    char path[64], in_etc[64], in_lib[64], command[128];
    struct kek_why why = {.text = ""};
    ck_assert_ptr_nonnull(mkdtemp(etc));
    ck_assert_ptr_nonnull(mkdtemp(lib));
    const char *const folders[] = {etc, lib};
    snprintf(path, sizeof path, "%s/kekd.service", lib);
    snprintf(in_etc, sizeof in_etc, "%s/kekd.service.d", etc);
    snprintf(in_lib, sizeof in_lib, "%s/kekd.service.d", lib);
    ck_assert_int_eq(mkdir(in_etc, 0700) + mkdir(in_lib, 0700), 0);
    write_in(lib, "kekd.service", "[Service]\nUser=of-the-unit\nGroup=of-the-unit\n");
    write_in(in_lib, "05-early.conf", "[Service]\nNice=5\n");
    write_in(in_etc, "10-own.conf", "[Service]\nUser=of-10\nNice=10\n");
    write_in(in_lib, "20-vendor.conf", "[Service]\nUser=of-20\n");
    write_in(in_lib, "30-same.conf", "[Service]\nUser=of-30\n");
    write_in(in_etc, "30-same.conf", "[Service]\nUMask=0077\n");
    write_in(in_lib, "40-masked.conf", "[Service]\nGroup=of-40\n");
    snprintf(command, sizeof command, "%s/40-masked.conf", in_etc);
    ck_assert_int_eq(symlink("/dev/null", command), 0);
    unit_done(&unit);
    ck_assert_msg(unit_read_installed(&unit, path, folders, 2, &why) == KEK_OK, "%s", why.text);
    ck_assert_str_eq(unit_value(&unit, "Service", "User"), "of-20");
    ck_assert_str_eq(unit_value(&unit, "Service", "Group"), "of-the-unit");
    ck_assert_str_eq(unit_value(&unit, "Service", "UMask"), "0077");
    ck_assert_str_eq(unit_value(&unit, "Service", "Nice"), "10");
    ck_assert_str_eq(unit.path, path);
    /* What is to be changed is changed where it counts. */
    char file[128], place[UNIT_PLACE];
    snprintf(file, sizeof file, "%s/20-vendor.conf", in_lib);
    ck_assert_str_eq(unit_source(&unit, "Service", "User"), file);
    ck_assert(!unit_place(&unit, "Service", "User", place));
    ck_assert_int_eq(strncmp(place, "[Service] of ", 13), 0);
    ck_assert_str_eq(place + 13, file);
    snprintf(file, sizeof file, "%s/10-own.conf", in_etc);
    ck_assert_str_eq(unit_source(&unit, "Service", "Nice"), file);
    ck_assert_str_eq(unit_source(&unit, "Service", "Group"), path);
    ck_assert_str_eq(unit_source(&unit, "Service", "LimitMEMLOCK"), path);
    /* Named by hand, those beside it. */
    unit_done(&unit);
    ck_assert_msg(unit_read(&unit, path, &why) == KEK_OK, "%s", why.text);
    ck_assert_str_eq(unit_value(&unit, "Service", "User"), "of-30");
    snprintf(command, sizeof command, "rm -r %s %s", etc, lib);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

START_TEST(what_a_package_has_is_changed_by_a_drop_in)
{
    static const char of[] = "[Service] of a drop-in (systemctl edit kekd.service)";
    char place[UNIT_PLACE], text[2048];
    parse_shipped();
    snprintf(unit.path, sizeof unit.path, "/usr/lib/systemd/system/kekd.service");
    ck_assert(unit_place(&unit, "Service", "ReadWritePaths", place));
    ck_assert_str_eq(place, of);
    struct unit_entry *last = &unit.entries[unit.count - 1];
    free(last->file);
    last->file = strdup("/etc/systemd/system/kekd.service.d/own.conf");
    ck_assert(!unit_place(&unit, last->section, last->key, place));
    ck_assert_ptr_nonnull(strstr(place, " of /etc/systemd/system/kekd.service.d/own.conf"));
    unit_done(&unit);
    parse("[Service]\nUMask=0022\nUser=kekd\n");
    unit.entries[0].file = strdup("/etc/systemd/system/kekd.service.d/own.conf");
    ck_assert_uint_gt(unit_unhardened(&unit, text, sizeof text), 1);
    ck_assert_ptr_nonnull(strstr(
        text, "in [Service] of /etc/systemd/system/kekd.service.d/own.conf: UMask=0077; in "));
    ck_assert_ptr_nonnull(strstr(text, of));
    unit.path[0] = '\0';
}
END_TEST

static const struct {
    const char *text;
    bool good;
    uint64_t limit;
} unit_limits[] = {
    {"infinity", true, UINT64_MAX},
    {"64K", true, 65536},
    {"8M", true, 8u << 20},
    {"1024:4096", true, 1024},
    {"infinity:5", true, UINT64_MAX},
    {"", false, 0},
    {"-1", false, 0},
    {"5x", false, 0},
    {"99999999999999999999", false, 0},
};

START_TEST(limits_of_a_unit_are_read)
{
    uint64_t limit = 0;
    ck_assert_int_eq(unit_limit(unit_limits[_i].text, &limit), unit_limits[_i].good);
    ck_assert_uint_eq(limit, unit_limits[_i].limit);
}
END_TEST

START_TEST(limits_of_a_process_are_read)
{
    static const char text[] = "Limit                     Soft Limit           Hard Limit  Units\n"
                               "Max open files            4096                 8192        files\n"
                               "Max locked memory         unlimited            unlimited   bytes\n";
    uint64_t limit = 0;
    ck_assert(limits_of_process(text, "Max open files", &limit));
    ck_assert_uint_eq(limit, 4096);
    ck_assert(limits_of_process(text, "Max locked memory", &limit));
    ck_assert_uint_eq(limit, UINT64_MAX);
    ck_assert(!limits_of_process(text, "Max stack size", &limit));
    ck_assert(!limits_of_process("Max open files x", "Max open files", &limit));
}
END_TEST

START_TEST(the_sessions_that_fit_are_the_most_that_do)
{
    for (uint64_t nodes = 1; nodes <= 5; nodes += 2) {
        struct limits_sessions of = {.nodes = nodes, .processes = 2, .sessions = 4};
        ck_assert_uint_eq(limits_sessions(&of), (3 * nodes + 2) * 5);
        for (uint64_t max = 0; max < 200; max++) {
            uint64_t fit = limits_sessions_fit(&of, max);
            of.sessions = fit;
            ck_assert(fit == 0 || limits_sessions(&of) <= max);
            of.sessions = fit + 1;
            ck_assert_uint_gt(limits_sessions(&of), max);
        }
    }
}
END_TEST

static void read_server(const char *text, size_t len, struct api_server *server)
{
    struct kek_why why = {.text = ""};
    enum kek_rc rc =
        api_server_parse(kek_bytes(text, len), "f", "/run/kekd/kms.sock", server, &why);
    ck_assert_msg(rc == KEK_OK, "%s", why.text);
    ck_assert_str_eq(why.text, "");
}

START_TEST(a_pod_says_what_it_is_told_and_what_it_sees)
{
    static const char pod[] =
        "kind: Pod\nspec:\n  securityContext: {runAsUser: 5}\n  containers:\n  - command: "
        "[kube-apiserver]\n"
        "    args:\n    - --encryption-provider-config=/etc/kubernetes/enc/e.yaml\n"
        "    - --encryption-provider-config-automatic-reload=true\n    securityContext: "
        "{runAsUser: 7}\n"
        "    volumeMounts: [{mountPath: /run/kekd/, name: a}, {mountPath: /etc/kubernetes/pki, "
        "name: b}]\n"
        "  volumes: [{name: b, hostPath: {path: /pki}}, {name: a, hostPath: {path: /srv/run/}}]\n";
    struct api_server server;
    read_server(pod, strlen(pod), &server);
    ck_assert_str_eq(server.config, "/etc/kubernetes/enc/e.yaml");
    ck_assert(server.is_pod && server.has_uid && server.reloads);
    ck_assert_uint_eq(server.uid, 7);
    ck_assert(server.sees_socket && !server.sees_config);
    ck_assert_str_eq(server.socket_on_host, "/srv/run/kms.sock");
    read_server("kind: Pod\n", 10, &server);
    ck_assert(server.is_pod && server.config[0] == '\0' && !server.sees_socket);
}
END_TEST

START_TEST(the_api_server_of_a_pod_is_told_from_what_runs_beside_it)
{
    static const char pod[] =
        "kind: Pod\nspec:\n  containers:\n  - command: [/bin/konnectivity, "
        "--encryption-provider-config=/no.yaml]\n"
        "  - command: [/usr/local/bin/kube-apiserver]\n"
        "    args: [--encryption-provider-config=/e.yaml]\n    securityContext: {runAsUser: 8}\n"
        "    volumeMounts: [{mountPath: /run/kekd, name: a}]\n"
        "  volumes: [{name: a, hostPath: {path: /run/kekd}}]\n";
    struct api_server server;
    read_server(pod, strlen(pod), &server);
    ck_assert_str_eq(server.config, "/e.yaml");
    ck_assert_uint_eq(server.uid, 8);
    ck_assert(server.sees_socket);
}
END_TEST

/* The deepest mount counts, with its subPath; what is of no node's folder is not seen. */
START_TEST(a_pod_sees_the_socket_by_the_mount_that_it_is_in)
{
    static const char deep[] =
        "kind: Pod\nspec:\n  containers:\n  - volumeMounts: [{mountPath: /run/kekd, name: in, "
        "subPath: k},"
        " {mountPath: /run, name: out}]\n"
        "  volumes: [{name: in, hostPath: {path: /a}}, {name: out, hostPath: {path: /b}}]\n";
    static const char empty[] =
        "kind: Pod\nspec:\n  containers:\n  - volumeMounts: [{mountPath: /run/kekd, name: in}]\n"
        "  volumes: [{name: in, emptyDir: {}}]\n";
    struct api_server server;
    struct kek_why why;
    read_server(deep, strlen(deep), &server);
    ck_assert_str_eq(server.socket_on_host, "/a/k/kms.sock");
    read_server(empty, strlen(empty), &server);
    ck_assert(!server.sees_socket);
    ck_assert_int_eq(api_server_parse(kek_bytes_of("\x01 garbage"), "f", "/s", &server, &why),
                     KEK_INVALID);
}
END_TEST

START_TEST(a_command_line_is_read_with_blanks_or_nuls)
{
    static const char nuls[] = "kube-apiserver\0--encryption-provider-config\0/e e.yaml\0--v=2";
    static const char blanks[] =
        "ExecStart=/usr/bin/kube-apiserver \\\n  --encryption-provider-config=/e.yaml \\\n"
        "  --encryption-provider-config-automatic-reload=false\n";
    struct api_server server;
    struct kek_why why;
    read_server(nuls, sizeof nuls, &server);
    ck_assert_str_eq(server.config, "/e");
    read_server(blanks, strlen(blanks), &server);
    ck_assert_str_eq(server.config, "/e.yaml");
    ck_assert(!server.is_pod && !server.has_uid && !server.reloads);
    ck_assert_int_eq(api_server_parse(kek_bytes_of("kind: Service\n"), "f", "/s", &server, &why),
                     KEK_INVALID);
    ck_assert_int_eq(
        api_server_parse(kek_bytes_of("apiVersion: v1\nkind: [Pod\n"), "f", "/s", &server, &why),
        KEK_INVALID);
    ck_assert_ptr_nonnull(strstr(why.text, "f:"));
}
END_TEST

START_TEST(a_word_is_quoted_where_a_shell_would_not_take_it_so)
{
    char out[64], whole[64];
    lines_quote("/a/b-c_d.e", out, sizeof out);
    ck_assert_str_eq(out, "/a/b-c_d.e");
    lines_quote("/it's $HOME", out, sizeof out);
    ck_assert_str_eq(out, "'/it'\\''s $HOME'");
    lines_quote("", out, sizeof out);
    ck_assert_str_eq(out, "''");
    lines_quote("/a'b c/d'e f", whole, sizeof whole);
    for (size_t size = 8; size < sizeof out; size++) {
        lines_quote("/a'b c/d'e f", out, size);
        ck_assert(strcmp(out, whole) == 0 || strcmp(out, "FILE") == 0);
        lines_quote("/abcdefghijkl", out, size);
        ck_assert_str_eq(out, size > 13 ? "/abcdefghijkl" : "FILE");
    }
}
END_TEST

START_TEST(what_is_to_be_done_is_never_half_a_command)
{
    char todo[LINES_TODO];
    static char path[LINES_TODO];
    memset(path, 'x', sizeof path - 1);
    lines_todo(todo, "rm %s", path);
    ck_assert_ptr_null(strstr(todo, "rm "));
    lines_todo(todo, "rm %s", "y");
    ck_assert_str_eq(todo, "rm y");
}
END_TEST

START_TEST(sentences_become_lines_and_remarks_are_no_trouble)
{
    struct lines lines;
    lines_open(&lines);
    lines_hear(&lines, DOCTOR_FAIL, "nodes", "do this");
    lines_heard(&lines, "cp1: not reached");
    lines_heard(&lines, "remark: only one");
    lines_heard(&lines, "to be mended: no space");
    ck_assert_uint_eq(lines.counts[DOCTOR_FAIL], 1);
    ck_assert_uint_eq(lines.counts[DOCTOR_OK], 1);
    ck_assert_uint_eq(lines.counts[DOCTOR_WARN], 1);
    ck_assert_uint_eq(lines.heard, 1);
    json_t *first = json_array_get(lines.list, 0), *second = json_array_get(lines.list, 1);
    ck_assert_str_eq(json_string_value(json_object_get(first, "do")), "do this");
    ck_assert_str_eq(json_string_value(json_object_get(second, "seen")), "only one");
    ck_assert_str_eq(json_string_value(json_object_get(second, "do")), "");
    json_t *third = json_array_get(lines.list, 2);
    ck_assert_str_eq(json_string_value(json_object_get(third, "seen")), "no space");
    ck_assert_str_eq(json_string_value(json_object_get(third, "do")), "mend what it names");
    lines_close(&lines);
}
END_TEST

START_TEST(paths_are_below_by_whole_names)
{
    char folder[8];
    ck_assert(below_is("/a/b", "/a") && below_is("/a", "/a/") && below_is("/x", "/"));
    ck_assert(!below_is("/ab", "/a") && !below_is("a", "/") && !below_is("/a", "/a/b"));
    ck_assert(below_folder("/a/b", folder, sizeof folder));
    ck_assert_str_eq(folder, "/a");
    ck_assert(below_folder("/b", folder, sizeof folder));
    ck_assert_str_eq(folder, "/");
    ck_assert(!below_folder("/12345678/b", folder, sizeof folder));
}
END_TEST

START_TEST(a_mac_is_late_once_intervals_and_slack_have_passed_since_a_line_without_one)
{
    const int64_t line = 1000000, allowed = (int64_t)(PACE_INTERVALS * 60000 + PACE_SLACK_MS);
    ck_assert(!pace_is_late(0, 60000, INT64_MAX));
    ck_assert(!pace_is_late(line, 60000, line + allowed));
    ck_assert(pace_is_late(line, 60000, line + allowed + 1));
    ck_assert(!pace_is_late(line, 60001, line + allowed + 1));
    ck_assert(!pace_is_late(line, 60000, line - 1)); /* a clock that was set back */
}
END_TEST

START_TEST(a_word_about_a_backup_counts_for_its_version_and_its_time)
{
    struct backup_word word = {.said_ms = 0};
    ck_assert_int_eq(backup_judge(&word, 1, 10), BACKUP_NEVER);
    word = (struct backup_word){.said_ms = 5, .version = 2};
    ck_assert_int_eq(backup_judge(&word, 2, 10), BACKUP_GOOD);
    ck_assert_int_eq(backup_judge(&word, 3, 10), BACKUP_BEHIND);
    ck_assert_int_eq(backup_judge(&word, 2, 5 + BACKUP_OLD_MS), BACKUP_GOOD);
    ck_assert_int_eq(backup_judge(&word, 2, 6 + BACKUP_OLD_MS), BACKUP_OLD);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("doctor");
    TCase *tcase = tcase_create("doctor");
    suite_add_tcase(suite, tcase);
    tcase_add_checked_fixture(tcase, NULL, done);
    tcase_add_test(tcase, a_unit_is_read_as_systemd_reads_it);
    tcase_add_test(tcase, an_empty_assignment_takes_back_what_came_before);
    tcase_add_test(tcase, what_is_no_unit_is_refused);
    tcase_add_test(tcase, the_shipped_unit_is_as_hardened_as_itself);
    tcase_add_test(tcase, each_hardening_of_the_shipped_unit_is_missed);
    tcase_add_test(tcase, a_sandbox_says_what_may_be_written_and_seen);
    tcase_add_test(tcase, drop_ins_of_an_installed_unit_count_by_name);
    tcase_add_test(tcase, what_a_package_has_is_changed_by_a_drop_in);
    tcase_add_loop_test(tcase, limits_of_a_unit_are_read, 0,
                        (int)(sizeof unit_limits / sizeof unit_limits[0]));
    tcase_add_test(tcase, limits_of_a_process_are_read);
    tcase_add_test(tcase, the_sessions_that_fit_are_the_most_that_do);
    tcase_add_test(tcase, a_pod_says_what_it_is_told_and_what_it_sees);
    tcase_add_test(tcase, the_api_server_of_a_pod_is_told_from_what_runs_beside_it);
    tcase_add_test(tcase, a_pod_sees_the_socket_by_the_mount_that_it_is_in);
    tcase_add_test(tcase, a_command_line_is_read_with_blanks_or_nuls);
    tcase_add_test(tcase, a_word_is_quoted_where_a_shell_would_not_take_it_so);
    tcase_add_test(tcase, what_is_to_be_done_is_never_half_a_command);
    tcase_add_test(tcase, sentences_become_lines_and_remarks_are_no_trouble);
    tcase_add_test(tcase, paths_are_below_by_whole_names);
    tcase_add_test(tcase,
                   a_mac_is_late_once_intervals_and_slack_have_passed_since_a_line_without_one);
    tcase_add_test(tcase, a_word_about_a_backup_counts_for_its_version_and_its_time);
    return suite_run(suite);
}
