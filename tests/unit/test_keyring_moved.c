/* In which file a record is: `roots` that come, go and come again never take back what was announced last. */
#include "suite.h"

#include <dirent.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kek/durable.h"
#include "kek/lock_file.h"
#include "keyring/moved.h"

#define RECORD_MAX 4096u

static char folder[] = "/tmp/kek-moved-XXXXXX";
static char keyring[] = "k", site[] = "site", spare[] = "spare";
static struct kek_config config;

static void setup(void)
{
    ck_assert_ptr_nonnull(mkdtemp(folder));
    config = (struct kek_config){.state_dir = folder, .keyring = keyring};
}

static const char *path_of(const char *name)
{
    static char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void teardown(void)
{
    DIR *items = opendir(folder);
    ck_assert_ptr_nonnull(items);
    for (struct dirent *item = readdir(items); item != NULL; item = readdir(items)) {
        (void)unlink(path_of(item->d_name));
    }
    closedir(items);
    ck_assert_int_eq(rmdir(folder), 0);
}

static void write_file(const char *name, const char *text)
{
    ck_assert_int_eq(kek_durable_write_now(path_of(name), kek_bytes_of(text), NULL), KEK_OK);
}

static void name_roots(char *root, bool is_first)
{
    config.root = root;
    config.root_is_first = is_first;
}

static json_t *content(const char *name)
{
    json_t *root = json_load_file(path_of(name), 0, NULL);
    ck_assert_msg(root != NULL, "%s", name);
    return root;
}

static json_int_t number_in(const char *name)
{
    json_t *root = content(name);
    json_int_t number =
        json_integer_value(json_object_get(json_object_get(root, "primary"), "number"));
    json_decref(root);
    return number;
}

static void says_moved(const char *name, const char *to)
{
    json_t *root = content(name);
    const char *target = json_string_value(json_object_get(root, "moved_to"));
    ck_assert_msg(target != NULL && strcmp(target, to) == 0, "%s", name);
    json_decref(root);
}

static bool is_there(const char *name)
{
    return access(path_of(name), F_OK) == 0;
}

#define SEEN(id, announced, wraps)                                                                \
    "{\"number\": 1, \"kek_id\": \"" id "\", \"announced\": " announced ", \"gcm_wraps\": " wraps \
    "}"
#define RECORD(number, id, ms, versions, more)                                                    \
    "{\"format\": 1, \"keyring\": \"k\", \"primary\": {\"number\": " number ", \"kek_id\": \"" id \
    "\", \"announced_ms\": " ms "}, \"versions\": [" versions "]" more "}"
#define V1(ms) RECORD("1", "a1", ms, SEEN("a1", "true", "10"), "")
#define V2(ms) RECORD("2", "a2", ms, SEEN("a1", "true", "20") "," SEEN("a2", "true", "7"), "")
/* Version 1 was destroyed since. */
#define V3 RECORD("3", "a3", "9", SEEN("a3", "true", "0"), ", \"history\": [{\"kek_id\": \"a1\"}]")
#define OTHERS RECORD("5", "b5", "9", SEEN("b5", "true", "0"), "")
/* Its token has a copy of another root's key, under which it never sealed. */
#define WITH_A_COPY RECORD("5", "b5", "9", SEEN("b5", "true", "0") "," SEEN("a1", "false", "0"), "")
#define MOVED(to) "{\"format\": 1, \"keyring\": \"k\", \"moved_to\": \"" to "\"}"
#define BARE "{\"format\": 1, \"keyring\": \"k\", \"primary\": null, \"versions\": []}"
#define TWIN RECORD("2", "c2", "9", SEEN("a1", "true", "20") "," SEEN("c2", "true", "7"), "")

/* As kekd does it: the path that counts, settled. Empty: there is no record. */
static void open_record(char counts[static PATH_MAX])
{
    struct kek_why why;
    KEK_AUTO(moved) moved = moved_find(&config, RECORD_MAX, &why);
    counts[0] = '\0';
    if (moved == NULL) {
        ck_assert_msg(why.rc == KEK_NOT_FOUND, "%s", why.text);
        return;
    }
    snprintf(counts, PATH_MAX, "%s", strrchr(moved->files[moved->counts].path, '/') + 1);
    KEK_AUTO_FREE char *text = moved_text(moved);
    ck_assert_ptr_nonnull(text);
    if (moved_is_open(moved)) {
        ck_assert_msg(moved_settle(moved, text, &why) == KEK_OK, "%s", why.text);
    }
}

static const struct {
    const char *unnamed, *named;    /* what is in k.json and in k@site.json; NULL: not there */
    const char *of_roots, *of_none; /* which counts with `roots: [site]`, and which without */
    bool is_fork;
} cases[] = {
    {NULL, NULL, "", "", false},
    {V1("5"), NULL, "k.json", "k.json", false},
    {NULL, V1("5"), "k@site.json", "k@site.json", false},
    /* Forked by an older kekd, either way round; the clock says the contrary. */
    {V2("3"), V1("5"), "k.json", "k.json", true},
    {V1("5"), V2("3"), "k@site.json", "k@site.json", true},
    {V3, V1("5"), "k.json", "k.json", true},
    {V1("5"), V3, "k@site.json", "k@site.json", true},
    /* The same announced twice. */
    {V1("5"), V1("6"), "k@site.json", "k@site.json", true},
    {V1("6"), V1("5"), "k.json", "k.json", true},
    {V1("5"), V1("5"), "k@site.json", "k.json", true},
    /* Another HSM's. */
    {OTHERS, V1("5"), "k@site.json", "k.json", false},
    {V1("5"), OTHERS, "k@site.json", "k.json", false},
    {V1("5"), WITH_A_COPY, "k@site.json", "k.json", false},
    {WITH_A_COPY, V1("5"), "k@site.json", "k.json", false},
};

START_TEST(of_two_records_the_one_that_announced_the_higher_version_counts)
{
    bool named = _i % 2 != 0;
    const char *own = named ? "k@site.json" : "k.json", *other = named ? "k.json" : "k@site.json";
    const char *expected = named ? cases[_i / 2].of_roots : cases[_i / 2].of_none;
    char counts[PATH_MAX];
    if (cases[_i / 2].unnamed != NULL) {
        write_file("k.json", cases[_i / 2].unnamed);
    }
    if (cases[_i / 2].named != NULL) {
        write_file("k@site.json", cases[_i / 2].named);
    }
    name_roots(named ? site : NULL, named);
    json_int_t number = expected[0] != '\0' ? number_in(expected) : 0;
    open_record(counts);
    ck_assert_str_eq(counts, expected);
    if (expected[0] == '\0') {
        return;
    }
    ck_assert_int_eq(number_in(own), number);
    const char *outranked = strcmp(counts, own) == 0 ? other : own;
    char aside[64];
    snprintf(aside, sizeof aside, "%s.aside-1", outranked);
    ck_assert_int_eq(is_there(aside), cases[_i / 2].is_fork);
    if (strcmp(counts, own) != 0 || cases[_i / 2].is_fork) {
        says_moved(other, own);
    }
    open_record(counts); /* and so it stays */
    ck_assert_str_eq(counts, own);
    ck_assert_int_eq(number_in(own), number);
}
END_TEST

/* Each time the one that is left goes on, and what it announced meanwhile is not taken back. */
START_TEST(roots_that_come_and_go_take_the_record_along)
{
    char counts[PATH_MAX];
    write_file("k.json", V1("5"));
    name_roots(site, true);
    open_record(counts);
    says_moved("k.json", "k@site.json");
    name_roots(NULL, false);
    open_record(counts);
    ck_assert_str_eq(counts, "k@site.json");
    says_moved("k@site.json", "k.json");
    write_file("k.json", V2("6"));
    name_roots(site, false); /* another root stands first now */
    open_record(counts);
    ck_assert_str_eq(counts, "k.json");
    ck_assert_int_eq(number_in("k@site.json"), 2);
    write_file("k@spare.json", OTHERS);
    name_roots(spare, true);
    open_record(counts);
    ck_assert_str_eq(counts, "k@spare.json");
    ck_assert_int_eq(number_in("k@spare.json"), 5);
    name_roots(NULL, false); /* k.json says which of the two it became */
    open_record(counts);
    ck_assert_str_eq(counts, "k@site.json");
    ck_assert_int_eq(number_in("k.json"), 2);
    ck_assert_int_eq(number_in("k@spare.json"), 5);
    ck_assert(!is_there("k.json.aside-1") && !is_there("k@site.json.aside-1"));
}
END_TEST

/* A root that has nothing on record is a new one, unless it is the first. */
START_TEST(record_that_went_on_elsewhere_is_not_taken)
{
    char counts[PATH_MAX];
    write_file("k.json", V1("5"));
    name_roots(spare, false);
    open_record(counts);
    ck_assert_str_eq(counts, "");
    name_roots(site, true);
    open_record(counts);
    name_roots(spare, true);
    open_record(counts);
    ck_assert_str_eq(counts, "");
}
END_TEST

static void (*then_once)(void);

/* Jansson's own: what happens once a file was read, and before the next one is. */
json_t *json_loadb(const char *text, size_t len, size_t flags, json_error_t *error)
{
    json_t *(*next)(const char *, size_t, size_t, json_error_t *) = NULL;
    *(void **)&next = dlsym(RTLD_NEXT, "json_loadb");
    json_t *root = next(text, len, flags, error);
    void (*then)(void) = then_once;
    then_once = NULL;
    if (then != NULL) {
        then();
    }
    return root;
}

static void take_back(void)
{
    char counts[PATH_MAX];
    open_record(counts);
    ck_assert_str_eq(counts, "k.json");
    says_moved("k.json", "k@site.json");
}

/* kekctl's own look takes no lock. */
START_TEST(record_that_kekd_takes_back_between_two_reads_is_found)
{
    char counts[PATH_MAX];
    struct kek_why why;
    write_file("k.json", V1("5"));
    name_roots(site, true);
    open_record(counts);
    name_roots(NULL, false);
    open_record(counts);
    says_moved("k@site.json", "k.json");
    for (int first = 0; first < 2; first++) {
        name_roots(site, first);
        then_once = take_back;
        KEK_AUTO(moved) moved = moved_find(&config, RECORD_MAX, &why);
        ck_assert_msg(moved != NULL, "%s", why.text);
        ck_assert_ptr_null(then_once);
        ck_assert_str_eq(strrchr(moved->files[0].path, '/'), "/k@site.json");
        ck_assert_int_eq(
            json_array_size(json_object_get(moved->files[moved->counts].root, "versions")), 1);
        name_roots(NULL, false);
        open_record(counts);
        says_moved("k@site.json", "k.json");
    }
}
END_TEST

/* What k.json says is of the root that it went on from, until that one has it back. */
START_TEST(new_first_root_takes_no_other_roots_record)
{
    char counts[PATH_MAX], renamed[] = "renamed";
    struct kek_why why;
    write_file("k.json", V1("5"));
    name_roots(site, true);
    open_record(counts);
    name_roots(NULL, false);
    open_record(counts);
    says_moved("k@site.json", "k.json");
    name_roots(spare, true); /* [spare, site] */
    ck_assert_ptr_null(moved_find(&config, RECORD_MAX, &why));
    ck_assert_int_eq(why.rc, KEK_PRECONDITION);
    ck_assert_msg(strstr(why.text, "k.json went on from k@site.json") != NULL, "%s", why.text);
    ck_assert_msg(strstr(why.text, "name that root first") != NULL, "%s", why.text);
    ck_assert(!is_there("k@spare.json"));
    ck_assert_int_eq(number_in("k.json"), 1);
    name_roots(site, true); /* [site, spare] */
    open_record(counts);
    ck_assert_str_eq(counts, "k.json");
    name_roots(spare, true); /* from then on in any order */
    open_record(counts);
    ck_assert_str_eq(counts, "");
    name_roots(NULL, false);
    open_record(counts);
    ck_assert_int_eq(unlink(path_of("k@site.json")), 0);
    name_roots(renamed, true); /* another name for it, as somebody says by that */
    open_record(counts);
    ck_assert_str_eq(counts, "k.json");
    ck_assert_int_eq(number_in("k@renamed.json"), 1);
}
END_TEST

/* A kekd of another configuration may share the folder, and call its keyring as the root's is called. */
START_TEST(record_that_another_kekd_writes_is_read_alone)
{
    struct kek_why why;
    int ready[2];
    char byte = 0, other[] = "other";
    write_file("k.json", V2("5"));
    name_roots(site, true);
    config.state_name = other; /* what kekd itself has locked */
    KEK_AUTO(moved) moved = moved_find(&config, RECORD_MAX, &why);
    ck_assert_ptr_nonnull(moved);
    ck_assert(!moved_is_in_use(moved, &config));
    ck_assert_int_eq(pipe(ready), 0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        struct kek_lock lock;
        char who[KEK_LOCK_WHO];
        byte = kek_lock_take(path_of("k.lock"), &lock, who, &why) == KEK_OK;
        (void)!write(ready[1], &byte, 1);
        for (;;) {
            pause();
        }
    }
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    ck_assert_int_eq(byte, 1);
    ck_assert(moved_is_in_use(moved, &config));
    config.state_name = keyring;
    ck_assert(!moved_is_in_use(moved, &config)); /* it is this kekd that has it */
    kill(child, SIGKILL);
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
}
END_TEST

/* The other one is written only when the first is whole: what a crash leaves is decided once more, alike. */
START_TEST(crash_between_two_writes_loses_nothing)
{
    char counts[PATH_MAX];
    for (int fork = 0; fork < 2; fork++) {
        write_file("k.json", V2("5"));
        if (fork) {
            write_file("k@site.json", V1("6"));
        }
        name_roots(site, true);
        struct kek_why why;
        KEK_AUTO(moved) moved = moved_find(&config, RECORD_MAX, &why);
        ck_assert_ptr_nonnull(moved);
        KEK_AUTO_FREE char *text = moved_text(moved);
        ck_assert_ptr_nonnull(text);
        write_file("k@site.json", text); /* and there it ended */
        open_record(counts);
        ck_assert_int_eq(number_in("k@site.json"), 2);
        says_moved("k.json", "k@site.json");
    }
}
END_TEST

START_TEST(what_must_not_be_forgotten_is_kept_of_the_other_too)
{
    char counts[PATH_MAX];
    write_file("k.json", V2("5"));
    write_file("k@site.json",
               RECORD("1", "a1", "5", SEEN("a1", "true", "10") "," SEEN("a2", "false", "1"),
                      ", \"lapse\": {\"since_ms\": 3, \"until_ms\": 4}"));
    name_roots(site, true);
    open_record(counts);
    json_t *root = content("k@site.json"), *versions = json_object_get(root, "versions");
    ck_assert_uint_eq(json_array_size(versions), 2);
    for (size_t i = 0; i < 2; i++) {
        const json_t *version = json_array_get(versions, i);
        ck_assert_int_eq(json_integer_value(json_object_get(version, "gcm_wraps")),
                         i == 0 ? 30 : 8);
        ck_assert(json_is_true(json_object_get(version, "announced")));
    }
    ck_assert_int_eq(
        json_integer_value(json_object_get(json_object_get(root, "lapse"), "since_ms")), 3);
    json_decref(root);
}
END_TEST

/* Without `roots`, of files that are no record of this keyring, or none yet. */
static const struct {
    const char *unnamed, *site, *spare, *counts;
} strays[] = {
    {V2("5"), "{", NULL, "k.json"},
    {V2("5"), NULL, "", "k.json"},
    {MOVED("k@site.json"), V2("5"), "{", "k@site.json"},
    {NULL, V2("5"), BARE, "k@site.json"},
    {NULL, BARE, V2("5"), "k@spare.json"},
    {NULL, BARE, NULL, "k@site.json"},
};

START_TEST(stray_file_does_not_stop_what_counts_without_it)
{
    const char *texts[] = {strays[_i].unnamed, strays[_i].site, strays[_i].spare};
    const char *const names[] = {"k.json", "k@site.json", "k@spare.json"};
    char counts[PATH_MAX];
    for (size_t i = 0; i < 3; i++) {
        if (texts[i] != NULL) {
            write_file(names[i], texts[i]);
        }
    }
    open_record(counts);
    ck_assert_str_eq(counts, strays[_i].counts);
    open_record(counts);
    ck_assert_str_eq(counts, "k.json");
}
END_TEST

START_TEST(stray_name_that_is_no_file_does_not_stop_a_good_record)
{
    char counts[PATH_MAX];
    write_file("k.json", V2("5"));
    ck_assert_int_eq(symlink("k@loop.json", path_of("k@loop.json")), 0);
    ck_assert_int_eq(mkfifo(path_of("k@pipe.json"), 0600), 0);
    open_record(counts);
    ck_assert_str_eq(counts, "k.json");
}
END_TEST

#define GONE(id) "{\"kek_id\": \"" id "\", \"destroyed_ms\": 3, \"returned_ms\": 0}"
#define BACK(id) "{\"kek_id\": \"" id "\", \"destroyed_ms\": 3, \"returned_ms\": 4}"
#define SHUT(id) "{\"kek_id\": \"" id "\", \"suspended\": {\"since_ms\": 3, \"ms\": 4}}"
#define STAINED(id) "{\"number\": 1, \"kek_id\": \"" id "\", \"compromised\": true}"

static void has_ids(const json_t *root, const char *list, const char *ids)
{
    char found[64] = "";
    const json_t *items = json_object_get(root, list);
    for (size_t i = 0; i < json_array_size(items); i++) {
        const json_t *item = json_array_get(items, i);
        const char *id = json_string_value(json_object_get(item, "kek_id"));
        size_t len = strlen(found);
        snprintf(found + len, sizeof found - len, "%s ", id != NULL ? id : json_string_value(item));
    }
    ck_assert_msg(strcmp(found, ids) == 0, "%s: %s", list, found);
}

START_TEST(what_befell_keys_and_tokens_is_kept_of_the_other_too)
{
    char counts[PATH_MAX];
    write_file("k.json", RECORD("3", "a3", "5",
                                SEEN("a1", "true", "0") "," SEEN("a2", "true", "0") "," SEEN(
                                    "a3", "true", "0") "," SEEN("a4", "false",
                                                                "0") "," SEEN("a5", "false", "0"),
                                ", \"history\": [" BACK("a0") "," BACK("a5") "," SHUT(
                                    "a1") "], \"tokens\": [\"t2\"]"));
    write_file(
        "k@site.json",
        RECORD("2", "a2", "9", STAINED("a2") "," SEEN("a3", "false", "0"),
               ", \"history\": [" GONE("a0") "," GONE("a1") "," GONE("a3") "," BACK("a4") "," GONE(
                   "a5") "," GONE("a6") "," SHUT("a7") "], \"tokens\": [\"t1\", \"t2\"]"));
    name_roots(site, true);
    open_record(counts);
    ck_assert_str_eq(counts, "k.json");
    json_t *root = content("k@site.json"), *versions = json_object_get(root, "versions");
    /* The primary is not gone; a5, which is back, and a4, which was in use since, are as the newer record has them. */
    has_ids(root, "versions", "a2 a3 a4 a5 ");
    has_ids(root, "history", "a0 a5 a1 a6 ");
    has_ids(root, "tokens", "t1 t2 ");
    for (size_t i = 0; i < 4; i++) {
        const json_t *mark = json_object_get(json_array_get(versions, i), "compromised");
        ck_assert_int_eq(json_is_true(mark), i == 0);
    }
    const json_t *gone = json_array_get(json_object_get(root, "history"), 2);
    ck_assert_int_eq(json_integer_value(json_object_get(gone, "destroyed_ms")), 3);
    json_decref(root);
}
END_TEST

static const struct {
    const char *unnamed, *site, *spare;
    const char *named[2], *todo;
    bool of_roots;
} refused[] = {
    {V2("5"), TWIN, NULL, {"k.json", "k@site.json"}, "no other node's Status shows", true},
    {V2("5"), TWIN, NULL, {"k.json", "k@site.json"}, "no other node's Status shows", false},
    {NULL, V2("5"), OTHERS, {"k@site.json", "k@spare.json"}, "put `roots` back", false},
    {MOVED("k@site.json"), NULL, NULL, {"k.json", "k@site.json"}, "restore that one", true},
    {MOVED("k@site.json"), NULL, NULL, {"k.json", "k@site.json"}, "restore that one", false},
    {"{", V2("5"), NULL, {"k.json", "k.json"}, "restore it", true},
    /* Which of them would count nobody can say. */
    {NULL, V2("5"), "{", {"k@spare.json", "k@spare.json"}, "restore it", false},
    {NULL, "{", V2("5"), {"k@site.json", "k@site.json"}, "restore it", false},
    {NULL, "{", NULL, {"k@site.json", "k@site.json"}, "restore it", false},
    {MOVED("k@site.json"), "{", OTHERS, {"k@site.json", "k@site.json"}, "restore it", false},
    {V1("5"),
     NULL,
     "{",
     {"k@spare.json", "k@spare.json"},
     "restore it",
     true}, /* whose is k.json? */
};

START_TEST(what_cannot_be_decided_is_refused_with_both_files)
{
    const char *texts[] = {refused[_i].unnamed, refused[_i].site, refused[_i].spare};
    const char *const names[] = {"k.json", "k@site.json", "k@spare.json"};
    struct kek_why why;
    for (size_t i = 0; i < 3; i++) {
        if (texts[i] != NULL) {
            write_file(names[i], texts[i]);
        }
    }
    name_roots(refused[_i].of_roots ? site : NULL, refused[_i].of_roots);
    ck_assert_ptr_null(moved_find(&config, RECORD_MAX, &why));
    ck_assert(why.rc == KEK_PRECONDITION || why.rc == KEK_DAMAGED);
    for (size_t i = 0; i < 2; i++) {
        ck_assert_msg(strstr(why.text, refused[_i].named[i]) != NULL, "%s", why.text);
    }
    ck_assert_msg(strstr(why.text, refused[_i].todo) != NULL, "%s", why.text);
    for (size_t i = 0; i < 3; i++) {
        ck_assert_int_eq(is_there(names[i]), texts[i] != NULL);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("keyring_moved");
    TCase *moved = tcase_create("moved");
    tcase_add_checked_fixture(moved, setup, teardown);
    tcase_add_loop_test(moved, of_two_records_the_one_that_announced_the_higher_version_counts, 0,
                        2 * (int)(sizeof cases / sizeof cases[0]));
    tcase_add_test(moved, roots_that_come_and_go_take_the_record_along);
    tcase_add_test(moved, record_that_went_on_elsewhere_is_not_taken);
    tcase_add_test(moved, new_first_root_takes_no_other_roots_record);
    tcase_add_test(moved, record_that_kekd_takes_back_between_two_reads_is_found);
    tcase_add_test(moved, record_that_another_kekd_writes_is_read_alone);
    tcase_add_test(moved, crash_between_two_writes_loses_nothing);
    tcase_add_test(moved, what_must_not_be_forgotten_is_kept_of_the_other_too);
    tcase_add_test(moved, what_befell_keys_and_tokens_is_kept_of_the_other_too);
    tcase_add_loop_test(moved, stray_file_does_not_stop_what_counts_without_it, 0,
                        (int)(sizeof strays / sizeof strays[0]));
    tcase_add_test(moved, stray_name_that_is_no_file_does_not_stop_a_good_record);
    tcase_add_loop_test(moved, what_cannot_be_decided_is_refused_with_both_files, 0,
                        (int)(sizeof refused / sizeof refused[0]));
    suite_add_tcase(suite, moved);
    return suite_run(suite);
}
