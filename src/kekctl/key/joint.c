#include "joint.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kek/envelope.h"
#include "kekctl/node/nodes.h"

/* What each root announced last, by its record. */
struct recorded {
    bool has[KEK_CONFIG_ROOTS_MAX];
    struct kek_id kek_ids[KEK_CONFIG_ROOTS_MAX];
    uint32_t numbers[KEK_CONFIG_ROOTS_MAX];
};

/* One that cannot be read is told. */
static bool read_record(const struct ctl *ctl, const struct kek_config *whole, size_t root,
                        struct kek_generation *last, struct joint *joint)
{
    struct kek_why why;
    enum kek_rc rc = kek_keyring_recorded(kek_config_view(whole, root), last, &why);
    if (rc != KEK_OK && rc != KEK_NOT_FOUND) {
        ctl_say(ctl, "%s: what was announced last is not known", why.text);
        joint->unread = true;
    }
    return rc == KEK_OK;
}

static void read_records(const struct ctl *ctl, const struct kek_config *whole,
                         struct recorded *recorded, struct joint *joint)
{
    for (size_t i = 0; i < whole->root_count; i++) {
        struct kek_generation last;
        recorded->has[i] = read_record(ctl, whole, i, &last, joint);
        if (recorded->has[i]) {
            recorded->kek_ids[i] = last.kek_ids[0];
            recorded->numbers[i] = last.numbers[0];
        }
    }
}

/* The generation of these roots, a bit for each. False: one of them has no record. */
static bool join(const struct kek_config *whole, const struct recorded *recorded, unsigned members,
                 struct joint *joint)
{
    struct kek_generation *generation = &joint->generation;
    *generation = (struct kek_generation){
        .mode = whole->mode == KEK_CONFIG_ALL ? KEK_ENVELOPE_MODE_ALL : KEK_ENVELOPE_MODE_ANY};
    for (size_t i = 0; i < whole->root_count; i++) {
        if ((members >> i & 1) == 0) {
            continue;
        }
        if (!recorded->has[i]) {
            return false;
        }
        joint->roots[generation->count] = i;
        generation->kek_ids[generation->count] = recorded->kek_ids[i];
        generation->numbers[generation->count++] = recorded->numbers[i];
    }
    return generation->count > 0 &&
           kek_key_id(kek_bytes_of(whole->context), generation->mode, generation->kek_ids,
                      generation->count, generation->key_id, NULL) == KEK_OK;
}

/* Which roots' KEKs are in what kekd announces. */
static void find_members(const struct kek_config *whole, const struct recorded *recorded,
                         struct joint *joint)
{
    for (unsigned members = 1; members < 1u << whole->root_count; members++) {
        if (join(whole, recorded, members, joint) &&
            strcmp(joint->generation.key_id, joint->key_id) == 0) {
            return;
        }
    }
    joint->generation.count = 0;
}

/* Of this node alone. False: no kekd runs on this state_dir that may be asked, or it says nothing. */
static bool ask_kekd(const struct ctl *ctl, const struct kek_config *whole, struct joint *joint)
{
    static const char *const self[] = {"self"};
    NODES_AUTO struct nodes nodes = {.list = NULL};
    enum ctl_exit code;
    if (!kek_keyring_runner(kek_config_view(whole, 0)).there || !nodes_hear_self(whole)) {
        return false;
    }
    joint->unheard = !nodes_open(&nodes, ctl, whole, self, 1, &code);
    if (!joint->unheard && nodes_ask(&nodes, JOINT_MS) == 0) {
        joint->unheard = true;
        ctl_say(ctl, "%s: what is announced together is told by the records alone",
                nodes.list[0].why.text);
    }
    if (joint->unheard || !nodes.list[0].status.announces) {
        return false;
    }
    snprintf(joint->key_id, sizeof joint->key_id, "%s", nodes.list[0].status.primary.key_id);
    return true;
}

static unsigned who_seals(const struct kek_config *whole, const struct recorded *recorded)
{
    unsigned members = 0;
    for (size_t i = 0; i < whole->root_count; i++) {
        bool counts = whole->roots[i].seals && (recorded->has[i] || whole->mode == KEK_CONFIG_ALL);
        members |= counts ? 1u << i : 0;
    }
    return members;
}

/* The one root's record says what it announced; kekd, what it announces now. */
static void find_one(const struct ctl *ctl, const struct kek_config *whole, struct joint *joint)
{
    bool recorded = read_record(ctl, whole, 0, &joint->generation, joint);
    joint->by_kekd = ask_kekd(ctl, whole, joint);
    if (!recorded || (joint->by_kekd && strcmp(joint->generation.key_id, joint->key_id) != 0)) {
        joint->generation.count = 0;
    } else if (!joint->by_kekd) {
        memcpy(joint->key_id, joint->generation.key_id, sizeof joint->key_id);
    }
}

void joint_find(const struct ctl *ctl, const struct kek_config *whole, struct joint *joint)
{
    struct recorded recorded;
    *joint = (struct joint){.key_id = ""};
    if (whole->root_count <= 1) {
        find_one(ctl, whole, joint);
        return;
    }
    read_records(ctl, whole, &recorded, joint);
    joint->by_kekd = ask_kekd(ctl, whole, joint);
    if (joint->by_kekd) {
        find_members(whole, &recorded, joint);
    } else if (join(whole, &recorded, who_seals(whole, &recorded), joint)) {
        memcpy(joint->key_id, joint->generation.key_id, sizeof joint->key_id);
    } else {
        joint->generation.count = 0;
    }
}

bool joint_has(const struct joint *joint, size_t root)
{
    size_t i = 0;
    while (i < joint->generation.count && joint->roots[i] != root) {
        i++;
    }
    return i < joint->generation.count;
}

/* It seals, and what is sealed now is not under it, as far as is known. */
static bool is_without(const struct kek_config *whole, const struct joint *joint, size_t root)
{
    return joint->generation.count > 0 && whole->roots[root].seals && !joint_has(joint, root);
}

static const char *mode_name(const struct kek_config *whole)
{
    return whole->mode == KEK_CONFIG_ALL ? "all" : "any";
}

json_t *joint_json(const struct kek_config *whole, const struct joint *joint)
{
    char hash[KEK_KEY_ID_HASH_TEXT];
    json_t *keks = json_array(), *without = json_array();
    if (joint->key_id[0] == '\0' || keks == NULL || without == NULL) {
        json_decref(keks);
        json_decref(without);
        return joint->key_id[0] == '\0' ? json_null() : NULL;
    }
    bool whole_list = true;
    for (size_t i = 0; i < joint->generation.count; i++) {
        char id[KEK_ID_TEXT];
        kek_id_format(&joint->generation.kek_ids[i], id);
        json_t *kek = json_pack("{s:s, s:I, s:s}", "root", whole->roots[joint->roots[i]].name,
                                "version", (json_int_t)joint->generation.numbers[i], "kek_id", id);
        whole_list = json_array_append_new(keks, kek) == 0 && whole_list;
    }
    for (size_t i = 0; i < whole->root_count; i++) {
        if (is_without(whole, joint, i)) {
            whole_list = json_array_append_new(without, json_string(whole->roots[i].name)) == 0 &&
                         whole_list;
        }
    }
    kek_key_id_hash(joint->key_id, hash);
    json_t *json = json_pack("{s:s, s:s, s:s, s:s, s:o, s:o}", "by",
                             joint->by_kekd ? "kekd" : "record", "mode", mode_name(whole), "key_id",
                             joint->key_id, "key_id_hash", hash, "keks", keks, "without", without);
    if (!whole_list) {
        json_decref(json);
        return NULL;
    }
    return json;
}

static void put(char text[static JOINT_TEXT], const char *format, ...) KEK_PRINTF(2, 3);
static void put(char text[static JOINT_TEXT], const char *format, ...)
{
    size_t at = strlen(text);
    va_list args;
    va_start(args, format);
    vsnprintf(text + at, JOINT_TEXT - at, format, args);
    va_end(args);
}

void joint_text(const struct kek_config *whole, const struct joint *joint,
                char text[static JOINT_TEXT])
{
    char hash[KEK_KEY_ID_HASH_TEXT];
    text[0] = '\0';
    if (joint->key_id[0] == '\0') {
        put(text, joint->unread
                      ? "what is announced of the roots of trust together is not known"
                      : "nothing is announced of the roots of trust together yet, as far as is on "
                        "record");
        return;
    }
    put(text, "announced together, in mode %s: ", mode_name(whole));
    for (size_t i = 0; i < joint->generation.count; i++) {
        put(text, "%sversion %" PRIu32 " of %s", i == 0 ? "" : ", ", joint->generation.numbers[i],
            whole->roots[joint->roots[i]].name);
    }
    for (size_t i = 0; i < whole->root_count; i++) {
        if (is_without(whole, joint, i)) {
            put(text, ", without %s", whole->roots[i].name);
        }
    }
    kek_key_id_hash(joint->key_id, hash);
    put(text, "%s key_id %s, hash %s (%s)",
        joint->generation.count > 0 ? ":" : "KEKs that are not on record:", joint->key_id, hash,
        joint->by_kekd   ? "as the kekd that runs here says"
        : joint->unheard ? "as is on record: the kekd that runs here was not heard"
                         : "as is on record: no kekd here says it");
}
