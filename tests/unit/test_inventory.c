/* kekctl/inventory_tally.c and inventory_state.c: what is counted, and what follows from it. */
#include "kekctl/inventory/inventory_state.h"

#include "kek/keyring.h"
#include "kube_help.h"

static const char *const contexts[] = {"prod", "old", "elsewhere"};
static struct tally *tally;

static void setup(void)
{
    tally = tally_new(kek_bytes_of("/registry"), contexts, 3, 2);
    ck_assert_ptr_nonnull(tally);
}

static void teardown(void)
{
    tally_free(tally);
}

static struct kek_id kek(unsigned byte)
{
    struct kek_id id;
    memset(id.bytes, (int)byte, sizeof id.bytes);
    return id;
}

static void take(const char *key, const struct kek_buf *value)
{
    struct kek_why why;
    ck_assert_int_eq(tally_take(tally, kek_bytes_of(key), kek_buf_bytes(value), &why), KEK_OK);
}

static void take_text(const char *key, const char *text)
{
    struct kek_why why;
    ck_assert_int_eq(tally_take(tally, kek_bytes_of(key), kek_bytes_of(text), &why), KEK_OK);
}

static void put_kekd(struct kek_buf *sealed, unsigned byte)
{
    KEK_AUTO_BUF struct kek_buf made;
    make_envelope(&made, 48);
    memset(made.data + 8, (int)byte, KEK_ID_LEN); /* magic, suite, mode, n, alg */
    put(sealed, made.data, made.len);
}

/* A kms v2 value of plugin "kekd" under the KEK of that byte, with this key_id beside it. */
static void make_v2(struct kek_buf *value, unsigned byte, const char *key_id)
{
    uint8_t data[32 + 12 + 16 + 4] = {1};
    KEK_AUTO_BUF struct kek_buf sealed;
    kek_buf_init(&sealed, VALUE_MAX);
    put_kekd(&sealed, byte);
    kek_buf_init(value, VALUE_MAX);
    put_text(value, "k8s:enc:kms:v2:kekd:");
    put_field(value, 1, data, sizeof data);
    put_field(value, 2, key_id, strlen(key_id));
    put_field(value, 3, sealed.data, sealed.len);
    put_number(value, 5, 1);
}

static void take_v2(const char *key, unsigned byte, const char *context)
{
    char key_id[KEK_KEY_ID_TEXT];
    struct kek_id id = kek(byte);
    KEK_AUTO_BUF struct kek_buf value;
    ck_assert_int_eq(kek_key_id(kek_bytes_of(context), KEK_ENVELOPE_MODE_ANY, &id, 1, key_id, NULL),
                     KEK_OK);
    make_v2(&value, byte, key_id);
    take(key, &value);
}

static void take_v1(const char *key, unsigned byte, size_t without)
{
    KEK_AUTO_BUF struct kek_buf value, sealed;
    kek_buf_init(&sealed, VALUE_MAX);
    put_kekd(&sealed, byte);
    kek_buf_init(&value, VALUE_MAX);
    put_text(&value, "k8s:enc:kms:v1:kekd-v1:");
    put_byte(&value, (unsigned)(sealed.len >> 8));
    put_byte(&value, (unsigned)(sealed.len & 255));
    put(&value, sealed.data, sealed.len);
    put_times(&value, 7, 40);
    value.len -= without;
    take(key, &value);
}

static void take_local(const char *key, const char *prefix)
{
    KEK_AUTO_BUF struct kek_buf value;
    kek_buf_init(&value, VALUE_MAX);
    put_text(&value, prefix);
    put_times(&value, 1, 48);
    take(key, &value);
}

static const struct tally_resource *find(const char *name)
{
    for (size_t i = 1; i < tally->resource_count; i++) {
        if (strcmp(tally->resources[i].name, name) == 0) {
            return &tally->resources[i];
        }
    }
    ck_abort_msg("there is no %s", name);
    return NULL;
}

static uint64_t count_of(const char *resource, enum kek_kube_kind kind, const char *provider)
{
    const struct tally_resource *found = find(resource);
    uint64_t objects = 0;
    for (size_t i = 0; i < found->count; i++) {
        const struct tally_cover *cover = &tally->covers[found->counts[i].cover];
        if (cover->kind == kind && kek_bytes_equal(cover->provider, kek_bytes_of(provider))) {
            objects += found->counts[i].objects;
        }
    }
    return objects;
}

START_TEST(objects_are_counted_by_resource_provider_and_kek)
{
    take_text("/registry/configmaps/a/x", "\xd9\xd9\xf7");
    take_v2("/registry/secrets/a/one", 1, "prod");
    take_v2("/registry/secrets/a/two", 2, "prod");
    take_v2("/registry/secrets/b/one", 1, "old");
    take_v1("/registry/secrets/b/two", 1, 0);
    take_local("/registry/secrets/b/three", "k8s:enc:aescbc:v1:key1:");
    take_local("/registry/secrets/c/four", "k8s:enc:aesgcm:v1:key2:");
    take_local("/registry/secrets/c/five", "k8s:enc:secretbox:v1:key3:");
    take_text("/registry/secrets/c/six", "{}");
    take_v2("/registry/example.com/things/a/one", 1, "prod");
    take_text("/registry/configmaps/b/y", "apiVersion: v1");
    const struct kek_id one = kek(1), two = kek(2), third = kek(3);
    ck_assert_uint_eq(tally->objects, 11);
    ck_assert_uint_eq(tally_unreadable(tally), 0);
    ck_assert_uint_eq(find("secrets")->objects, 8);
    ck_assert_uint_eq(find("configmaps")->objects, 2);
    ck_assert_uint_eq(find("things.example.com")->objects, 1);
    ck_assert_uint_eq(count_of("secrets", KEK_KUBE_KMS_V2, "kekd"), 3);
    ck_assert_uint_eq(count_of("secrets", KEK_KUBE_KMS_V1, "kekd-v1"), 1);
    ck_assert_uint_eq(count_of("secrets", KEK_KUBE_AESCBC, "key1"), 1);
    ck_assert_uint_eq(count_of("secrets", KEK_KUBE_AESGCM, "key2"), 1);
    ck_assert_uint_eq(count_of("secrets", KEK_KUBE_SECRETBOX, "key3"), 1);
    ck_assert_uint_eq(count_of("secrets", KEK_KUBE_PLAIN, ""), 1);
    ck_assert_uint_eq(tally_under(tally, &one), 4);
    ck_assert_uint_eq(tally_under(tally, &two), 1);
    ck_assert_uint_eq(tally_under(tally, &third), 0);
    for (size_t i = 0; i < TALLY_TROUBLES; i++) {
        ck_assert_uint_eq(tally->troubles[i], 0);
    }
}
END_TEST

START_TEST(a_key_id_that_lies_is_told_and_the_kek_inside_counts)
{
    static const char *const lies[] = {"", "kek1-", "kek1-00000000000000000000000000000000",
                                       "another plugin's"};
    const struct kek_id one = kek(1), two = kek(2);
    char of_two[KEK_KEY_ID_TEXT];
    ck_assert_int_eq(kek_key_id(kek_bytes_of("prod"), KEK_ENVELOPE_MODE_ANY, &two, 1, of_two, NULL),
                     KEK_OK);
    for (size_t i = 1; i < sizeof lies / sizeof lies[0]; i++) {
        KEK_AUTO_BUF struct kek_buf value;
        make_v2(&value, 1, lies[i]);
        take("/registry/secrets/a/lie", &value);
    }
    KEK_AUTO_BUF struct kek_buf value;
    make_v2(&value, 1, of_two);
    take("/registry/secrets/b/swapped", &value);
    ck_assert_uint_eq(tally->troubles[TALLY_KEY_ID], 4);
    ck_assert_uint_eq(tally->disagreeing, 4);
    ck_assert_uint_eq(tally_under(tally, &one), 4);
    ck_assert_uint_eq(tally_under(tally, &two), 0);
    const struct tally_named *last = &tally->named[TALLY_KEY_ID][3];
    ck_assert_str_eq(last->resource, "secrets");
    ck_assert_str_eq(last->ns, "b");
    ck_assert_str_eq(last->name, "swapped");
    ck_assert_ptr_nonnull(strstr(last->why, of_two));
    ck_assert_uint_eq(tally_unreadable(tally), 0);
}
END_TEST

/* A byte of the kek id inside was changed, or of the key_id, or more than that. */
START_TEST(a_kek_id_that_the_key_id_does_not_confirm_is_counted_as_disagreeing)
{
    const struct kek_id one = kek(1);
    char key_id[KEK_KEY_ID_TEXT];
    ck_assert_int_eq(kek_key_id(kek_bytes_of("prod"), KEK_ENVELOPE_MODE_ANY, &one, 1, key_id, NULL),
                     KEK_OK);
    for (size_t i = 0; i < KEK_ID_LEN; i++) {
        KEK_AUTO_BUF struct kek_buf value;
        make_v2(&value, 1, key_id);
        uint8_t *at = memmem(value.data, value.len, "KEK\1", 4);
        ck_assert_ptr_nonnull(at);
        at[8 + i] ^= 4;
        value.len -= i == 0 ? 2 : 0; /* and cut off behind it */
        take("/registry/secrets/a/flipped", &value);
        ck_assert_uint_eq(tally->disagreeing, i + 1);
    }
    ck_assert_uint_eq(tally_under(tally, &one), 0);
    take_v2("/registry/secrets/a/whole", 1, "prod");
    take_v2("/registry/secrets/a/of-another-cluster", 1, "elsewhere");
    take_v1("/registry/secrets/a/v1", 1, 0); /* what stands beside it says nothing: inventory.c */
    ck_assert_uint_eq(tally->disagreeing, KEK_ID_LEN);
}
END_TEST

START_TEST(the_context_is_told_by_the_key_id)
{
    take_v2("/registry/secrets/a/one", 1, "prod");
    take_v2("/registry/secrets/a/two", 1, "old");
    take_v2("/registry/secrets/a/three", 1, "elsewhere");
    take_v2("/registry/secrets/a/four", 1, "nowhere");
    const struct tally_cover *cover = &tally->covers[1];
    ck_assert_uint_eq(cover->objects, 4);
    ck_assert_uint_eq(cover->by_context[0], 1);
    ck_assert_uint_eq(cover->by_context[1], 1);
    ck_assert_uint_eq(cover->by_context[2], 1);
    ck_assert_uint_eq(tally->troubles[TALLY_CONTEXT], 1);
    ck_assert_str_eq(tally->named[TALLY_CONTEXT][0].name, "three");
    ck_assert_uint_eq(tally->troubles[TALLY_KEY_ID], 1);
    ck_assert_str_eq(tally->named[TALLY_KEY_ID][0].name, "four");
}
END_TEST

START_TEST(what_cannot_be_read_is_named_and_proves_nothing)
{
    static const char unknown[] = "k8s:enc:kms:v9:x:bytes";
    const struct kek_id one = kek(1);
    take_text("/registry/secrets/a/new", unknown);
    take_text("/registry/secrets/a/cut", "k8s:enc:kms:v2:kekd:");
    take_text("/registry/secrets/a/short", "k8s:enc:aescbc:v1:key1:short");
    take_text("/registry/secrets/a/gone", "");
    take_text("/registry/secrets/a/changed", "K8s:enc:kms:v2:kekd:bytes");
    take_text("/registry/odd", "");
    take_v1("/registry/secrets/a/tail", 1, 39); /* its envelope is whole */
    ck_assert_uint_eq(tally->troubles[TALLY_UNKNOWN], 1);
    ck_assert_uint_eq(tally->troubles[TALLY_MALFORMED], 5);
    ck_assert_str_eq(tally->named[TALLY_UNKNOWN][0].name, "new");
    ck_assert_str_eq(tally->named[TALLY_UNKNOWN][0].why, "it begins with k8s:enc:kms:v9:x");
    ck_assert_str_eq(tally->named[TALLY_MALFORMED][0].name, "cut");
    ck_assert_str_eq(tally->named[TALLY_MALFORMED][2].name, "gone");
    ck_assert_str_eq(tally->named[TALLY_MALFORMED][3].name, "changed");
    /* aescbc needs no KEK of kekd's however short it is, and of the last one it is known which. */
    ck_assert_uint_eq(tally_unreadable(tally), 4);
    ck_assert_uint_eq(tally_under(tally, &one), 1);
    ck_assert_uint_eq(tally->objects, 7);
}
END_TEST

START_TEST(an_envelope_of_another_format_is_named_and_proves_nothing)
{
    /* A later kekd's; one of ours that was changed; and what no kekd made, since its length is not right either. */
    static const struct {
        const char *key;
        uint8_t magic[4];
        size_t cut;
    } sources[] = {{"/registry/secrets/a/later", {'K', 'E', 'K', 2}, 0},
                   {"/registry/secrets/a/changed", {'K', 'E', 'L', 1}, 0},
                   {"/registry/secrets/a/foreign", {'K', 'E', 'L', 1}, 5}};
    for (size_t i = 0; i < 3; i++) {
        KEK_AUTO_BUF struct kek_buf value;
        make_v2(&value, 1, "kek1-x");
        uint8_t *at = memmem(value.data, value.len, "KEK\1", 4);
        ck_assert_ptr_nonnull(at);
        memcpy(at, sources[i].magic, sizeof sources[i].magic);
        at[6] = sources[i].cut > 0 ? 0 : at[6]; /* how many KEKs there are */
        take(sources[i].key, &value);
    }
    ck_assert_uint_eq(tally_unreadable(tally), 2);
    ck_assert_uint_eq(tally->troubles[TALLY_UNKNOWN], 2);
    ck_assert_str_eq(tally->named[TALLY_UNKNOWN][0].name, "later");
    ck_assert_str_eq(tally->named[TALLY_UNKNOWN][1].name, "changed");
}
END_TEST

START_TEST(what_is_no_envelope_under_the_name_of_kekd_proves_nothing)
{
    KEK_AUTO_BUF struct kek_buf value;
    make_v2(&value, 1, "kek1-x");
    uint8_t *at = memmem(value.data, value.len, "KEK\1", 4);
    ck_assert_ptr_nonnull(at);
    memset(at, 'x', 8);
    take("/registry/secrets/a/before", &value);
    ck_assert_uint_eq(tally_unreadable(tally), 0); /* as far as is known yet, another plugin's */
    take_v2("/registry/secrets/a/whole", 1, "prod");
    take("/registry/secrets/b/after", &value);
    ck_assert_uint_eq(tally_unreadable(tally), 2);
}
END_TEST

START_TEST(keys_that_are_no_objects_are_counted_too)
{
    const struct kek_id one = kek(1);
    take_text("/registry/odd", "{}");
    take_v2("/registry/", 1, "prod");
    take_text("/registry/secrets/a/x", "{}");
    take_text("/registry/secrets/a/\x1b[31mred\xff", "k8s:enc:nil");
    ck_assert_uint_eq(tally->objects, 4);
    ck_assert_uint_eq(tally->resources[0].objects, 2);
    ck_assert_uint_eq(tally_under(tally, &one), 1);
    ck_assert_str_eq(tally->named[TALLY_UNKNOWN][0].name, "?[31mred?");
}
END_TEST

/* A text would end there, and less room be had than the bytes take. */
START_TEST(a_nul_in_a_key_is_a_byte_like_any_other)
{
    static const char keys[][34] = {"/registry/\0a-longer-resource/a/x", "/registry/s\0crets/a/x",
                                    "/registry/\0.example.com/a\0b/c/x"};
    static const size_t lens[] = {32, 21, 31};
    static const char *const names[] = {"?a-longer-resource", "s?crets", "a?b.?.example.com"};
    for (size_t i = 0; i < 3; i++) {
        struct kek_why why;
        for (int twice = 0; twice < 2; twice++) {
            ck_assert_int_eq(
                tally_take(tally, kek_bytes(keys[i], lens[i]), kek_bytes_of("{}"), &why), KEK_OK);
        }
        ck_assert_uint_eq(tally->resource_count, 2 + i);
        const struct tally_resource *resource = find(names[i]);
        ck_assert_uint_eq(resource->raw.len, strlen(names[i]));
        ck_assert_uint_eq(resource->objects, 2);
    }
}
END_TEST

START_TEST(tables_are_full_at_their_maximum_and_nothing_is_lost)
{
    char key[64], value[96];
    for (int i = 0; i < TALLY_RESOURCES_MAX + 50; i++) {
        snprintf(key, sizeof key, "/registry/group-%d.example.com/things/a/x", i);
        take_text(key, "{}");
    }
    ck_assert(tally->resources_full);
    ck_assert_uint_eq(tally->resource_count, TALLY_RESOURCES_MAX);
    ck_assert_uint_eq(tally->resources[0].objects, 51);
    for (int i = 0; i < TALLY_COVERS_MAX + 50; i++) {
        snprintf(key, sizeof key, "/registry/secrets/a/%d", i);
        snprintf(value, sizeof value, "k8s:enc:aesgcm:v1:key%04d:%s", i,
                 "0123456789012345678901234567");
        take_text(key, value);
    }
    ck_assert_uint_eq(tally->cover_count, TALLY_COVERS_MAX);
    ck_assert_uint_eq(tally->covers[0].objects,
                      52); /* "plain" has a place, the first one is for these */
    ck_assert_uint_eq(tally_unreadable(tally), 52);
    ck_assert_uint_eq(tally->objects, TALLY_RESOURCES_MAX + 50 + TALLY_COVERS_MAX + 50);
    for (int i = 0; i < TALLY_NAMED_MAX + 5; i++) {
        snprintf(key, sizeof key, "/registry/secrets/b/%d", i);
        take_text(key, "k8s:enc:new:");
    }
    ck_assert_uint_eq(tally->named_count[TALLY_UNKNOWN], TALLY_NAMED_MAX);
    ck_assert_uint_eq(tally->troubles[TALLY_UNKNOWN], TALLY_NAMED_MAX + 5);
}
END_TEST

/* States. An object by a letter: 1, 2: kms v2 under that KEK; v: kms v1 under KEK 1; c: aescbc; p: plain; !: an unknown
 * prefix. */
static void take_letters(const char *letters)
{
    char key[64];
    for (size_t i = 0; letters[i] != '\0'; i++) {
        snprintf(key, sizeof key, "/registry/secrets/a/%zu", i);
        switch (letters[i]) {
        case '1':
        case '2':
            take_v2(key, (unsigned)(letters[i] - '0'), "prod");
            break;
        case 'v':
            take_v1(key, 1, 0);
            break;
        case 'c':
            take_local(key, "k8s:enc:aescbc:v1:key1:");
            break;
        case '!':
            take_text(key, "k8s:enc:new:");
            break;
        default:
            take_text(key, "{}");
        }
    }
}

#define KEKD              \
    {                     \
        .wish = WISH_KEKD \
    }
#define PLUGIN                                                             \
    {                                                                      \
        .wish = WISH_PROVIDER, .kind = KEK_KUBE_KMS_V2, .provider = "kekd" \
    }
#define OTHER_PLUGIN                                                        \
    {                                                                       \
        .wish = WISH_PROVIDER, .kind = KEK_KUBE_KMS_V2, .provider = "other" \
    }
#define AESCBC                                                             \
    {                                                                      \
        .wish = WISH_PROVIDER, .kind = KEK_KUBE_AESCBC, .provider = "key1" \
    }
#define PLAIN              \
    {                      \
        .wish = WISH_PLAIN \
    }

static const struct {
    const char *objects;
    struct inventory_wanted wanted;
    unsigned primary; /* 0: nobody knows */
    uint64_t lost;
    const char *state;
    bool good;
} states[] = {
    {"111", KEKD, 1, 0, "ENCRYPTED", true},
    {"1v1", KEKD, 1, 0, "ENCRYPTED", true},
    {"112", KEKD, 1, 0, "ENCRYPTION_PENDING", false},
    {"111", KEKD, 2, 0, "ENCRYPTION_PENDING", false},
    {"11p", KEKD, 1, 0, "ENCRYPTION_PENDING", false},
    {"11c", KEKD, 1, 0, "ENCRYPTION_PENDING", false},
    {"cc", KEKD, 1, 0, "ENCRYPTION_PENDING", false},
    {"pp", KEKD, 1, 0, "DECRYPTED", false},
    {"11!", KEKD, 1, 0, "ENCRYPTION_ERROR", false},
    {"pp!", KEKD, 1, 0, "ENCRYPTION_ERROR", false},
    {"111", KEKD, 1, 1, "ENCRYPTION_ERROR", false},
    {"222", KEKD, 0, 0, "ENCRYPTED", true},
    {"122", KEKD, 0, 0, "ENCRYPTION_PENDING", false},
    {"111", PLUGIN, 1, 0, "ENCRYPTED", true},
    {"112", PLUGIN, 1, 0, "ENCRYPTION_PENDING", false},
    {"11v", PLUGIN, 1, 0, "ENCRYPTION_PENDING", false}, /* v1 has another name */
    {"pp", PLUGIN, 1, 0, "ENCRYPTION_PENDING", false},
    {"111", OTHER_PLUGIN, 1, 0, "ENCRYPTION_PENDING", false},
    {"cc", AESCBC, 1, 0, "ENCRYPTED", true},
    {"c1", AESCBC, 1, 0, "ENCRYPTION_PENDING", false},
    {"pp", PLAIN, 1, 0, "DECRYPTED", true},
    {"p1", PLAIN, 1, 0, "DECRYPTION_PENDING", false},
    {"11", PLAIN, 1, 0, "DECRYPTION_PENDING", false},
    {"p!", PLAIN, 1, 0, "DECRYPTION_ERROR", false},
    {"pp", PLAIN, 1, 1, "DECRYPTION_ERROR", false},
};

START_TEST(a_state_follows_from_what_is_counted)
{
    const struct kek_root_form primary = {
        .mode = KEK_ENVELOPE_MODE_ANY, .count = 1, .kek_ids = {kek(states[_i].primary)}};
    take_letters(states[_i].objects);
    enum inventory_state state =
        inventory_state_of(tally, find("secrets"), &states[_i].wanted,
                           states[_i].primary == 0 ? NULL : &primary, states[_i].lost);
    ck_assert_msg(strcmp(inventory_state_name(state), states[_i].state) == 0, "row %d: %s", _i,
                  inventory_state_name(state));
    ck_assert_int_eq(inventory_state_good(state, &states[_i].wanted), states[_i].good);
}
END_TEST

static const struct inventory_wanted kekd = KEKD, plain = PLAIN;

/* Several roots of trust: A has the KEKs 1 to 3, B 4 to 6, and 7 to 9 are of nobody who is known. */
static bool has(const void *arg, size_t root, const struct kek_id *id)
{
    (void)arg;
    return id->bytes[0] >= 1 + 3 * root && id->bytes[0] <= 3 + 3 * root;
}

static struct kek_root_form form_of(unsigned mode, const char *digits)
{
    struct kek_root_form form = {.mode = (uint8_t)mode, .count = strlen(digits)};
    for (size_t i = 0; i < form.count; i++) {
        form.kek_ids[i] = kek((unsigned)(digits[i] - '0'));
    }
    return form;
}

/* A kms v1 value, as put_kekd() makes it, of several entries. */
static void take_form(const char *key, unsigned mode, const char *digits)
{
    KEK_AUTO_BUF struct kek_buf value, one, sealed;
    make_envelope(&one, 48);
    size_t count = strlen(digits), head = 7,
           entry = 19 + one.data[head + 17] * 256u + one.data[head + 18];
    kek_buf_init(&sealed, VALUE_MAX);
    put(&sealed, one.data, head);
    sealed.data[5] = (uint8_t)mode;
    sealed.data[6] = (uint8_t)count;
    for (size_t i = 0; i < count; i++) {
        memset(one.data + head + 1, digits[i] - '0', KEK_ID_LEN);
        put(&sealed, one.data + head, entry);
    }
    put(&sealed, one.data + head + entry, one.len - head - entry);
    kek_buf_init(&value, VALUE_MAX);
    put_text(&value, "k8s:enc:kms:v1:kekd-v1:");
    put_byte(&value, (unsigned)(sealed.len >> 8));
    put_byte(&value, (unsigned)(sealed.len & 255));
    put(&value, sealed.data, sealed.len);
    put_times(&value, 7, 40);
    take(key, &value);
}

#define ANY KEK_ENVELOPE_MODE_ANY
#define ALL KEK_ENVELOPE_MODE_ALL

static const struct {
    const char *roots; /* "AB": both seal; "aB": A only opens */
    uint8_t mode, accept;
    uint8_t form;
    const char *keks;    /* of the object */
    const char *primary; /* "": it is not known */
    const char *state;
    bool refused, weak;
    unsigned missing;
} forms[] = {
    {"AB", ANY, ANY, ANY, "14", "14", "ENCRYPTED", false, false, 0},
    {"AB", ANY, ANY, ANY, "14", "24", "ENCRYPTION_PENDING", false, false, 0},
    {"AB", ANY, ANY, ANY, "1", "14", "ENCRYPTION_PENDING", false, true, 2},
    {"AB", ANY, ANY, ANY, "4", "14", "ENCRYPTION_PENDING", false, true, 1},
    {"AB", ANY, ANY, ANY, "1", "", "ENCRYPTION_PENDING", false, true, 2},
    {"AB", ANY, ANY, ANY, "14", "", "ENCRYPTED", false, false, 0},
    {"AB", ANY, ANY, ANY, "17", "14", "ENCRYPTION_PENDING", false, false, 2}, /* 7 may be B's */
    {"AB", ANY, ANY, ANY, "7", "14", "ENCRYPTION_PENDING", false, true, 3},
    {"AB", ANY, ANY, ANY, "147", "14", "ENCRYPTION_ERROR", true, false, 0},
    {"AB", ANY, ANY, ANY, "41", "14", "ENCRYPTION_ERROR", true, false, 1},
    {"AB", ANY, ANY, ALL, "14", "14", "ENCRYPTION_ERROR", true, false, 0},
    {"AB", ALL, ALL, ALL, "14", "14", "ENCRYPTED", false, false, 0},
    {"AB", ALL, ALL, ALL, "1", "14", "ENCRYPTION_ERROR", true, false, 2},
    {"AB", ALL, ALL, ANY, "14", "14", "ENCRYPTION_ERROR", true, false, 0},
    {"AB", ALL, ANY, ANY, "14", "14", "ENCRYPTION_PENDING", false, false, 0},
    {"aB", ANY, ANY, ANY, "4", "4", "ENCRYPTED", false, false, 0},
    {"aB", ANY, ANY, ANY, "1", "4", "ENCRYPTION_PENDING", false, true, 2},
    {"aB", ANY, ANY, ANY, "14", "4", "ENCRYPTION_PENDING", false, false, 0},
    {"Ab", ANY, ANY, ANY, "1", "1", "ENCRYPTED", false, false, 0},
};

START_TEST(what_several_roots_make_of_an_envelope)
{
    struct kek_root_rules rules = {.mode = forms[_i].mode,
                                   .mode_accept = forms[_i].accept,
                                   .count = 2,
                                   .seals = {forms[_i].roots[0] == 'A', forms[_i].roots[1] == 'B'},
                                   .needed = {true, true},
                                   .has = has};
    const struct kek_root_form primary = form_of(forms[_i].mode, forms[_i].primary);
    tally->rules = &rules;
    take_form("/registry/secrets/a/one", forms[_i].form, forms[_i].keks);
    const struct tally_cover *cover = &tally->covers[1];
    ck_assert_int_eq(cover->refused, forms[_i].refused);
    ck_assert_int_eq(tally_is_weak(cover), forms[_i].weak);
    ck_assert_uint_eq(cover->missing, forms[_i].missing);
    ck_assert_uint_eq(tally->troubles[TALLY_FORM], forms[_i].refused ? 1 : 0);
    ck_assert_uint_eq(tally_unreadable(tally), 0);
    for (const char *digit = forms[_i].keks; *digit != '\0'; digit++) {
        struct kek_id id = kek((unsigned)(*digit - '0'));
        ck_assert_uint_eq(tally_under(tally, &id), 1);
    }
    enum inventory_state state =
        inventory_state_of(tally, find("secrets"), &kekd, primary.count == 0 ? NULL : &primary, 0);
    ck_assert_msg(strcmp(inventory_state_name(state), forms[_i].state) == 0, "row %d: %s", _i,
                  inventory_state_name(state));
}
END_TEST

START_TEST(with_one_root_an_envelope_of_several_keks_proves_nothing)
{
    take_form("/registry/secrets/a/one", ANY, "14");
    ck_assert_uint_eq(tally_unreadable(tally), 1);
    ck_assert_uint_eq(tally->troubles[TALLY_FORM], 0);
    ck_assert(!tally_is_weak(&tally->covers[1]));
    ck_assert_int_eq(inventory_state_of(tally, find("secrets"), &kekd, NULL, 0),
                     INVENTORY_ENCRYPTION_PENDING);
}
END_TEST

/* E: encrypted as wanted; D: plain as wanted; d: plain, though it should not be; P, p, X, x: pending and error. */
static const struct {
    const char *parts, *state;
    bool good;
} sums[] = {
    {"E", "ENCRYPTED", true},
    {"d", "DECRYPTED", false},
    {"D", "DECRYPTED", true},
    {"DD", "DECRYPTED", true},
    {"dd", "DECRYPTED", false},
    {"ED", "ENCRYPTED", true},
    {"DE", "ENCRYPTED", true},
    {"Ed", "ENCRYPTION_PENDING", false},
    {"dE", "ENCRYPTION_PENDING", false},
    {"EP", "ENCRYPTION_PENDING", false},
    {"Ep", "DECRYPTION_PENDING", false},
    {"pP", "ENCRYPTION_PENDING", false},
    {"PX", "ENCRYPTION_ERROR", false},
    {"xP", "DECRYPTION_ERROR", false},
    {"xX", "ENCRYPTION_ERROR", false},
};

START_TEST(the_worst_of_several_is_the_state_of_all)
{
    static const char letters[] = "EDdPpXx";
    static const struct {
        enum inventory_state state;
        const struct inventory_wanted *wanted;
    } means[] = {{INVENTORY_ENCRYPTED, &kekd},           {INVENTORY_DECRYPTED, &plain},
                 {INVENTORY_DECRYPTED, &kekd},           {INVENTORY_ENCRYPTION_PENDING, &kekd},
                 {INVENTORY_DECRYPTION_PENDING, &plain}, {INVENTORY_ENCRYPTION_ERROR, &kekd},
                 {INVENTORY_DECRYPTION_ERROR, &plain}};
    struct inventory_sum sum = {.any = false};
    for (const char *at = sums[_i].parts; *at != '\0'; at++) {
        size_t which = (size_t)(strchr(letters, *at) - letters);
        inventory_sum_add(&sum, means[which].state, means[which].wanted);
    }
    ck_assert_str_eq(inventory_state_name(sum.state), sums[_i].state);
    ck_assert_int_eq(sum.good, sums[_i].good);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("inventory");
    TCase *all = tcase_create("all");
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_test(all, objects_are_counted_by_resource_provider_and_kek);
    tcase_add_test(all, a_key_id_that_lies_is_told_and_the_kek_inside_counts);
    tcase_add_test(all, a_kek_id_that_the_key_id_does_not_confirm_is_counted_as_disagreeing);
    tcase_add_test(all, the_context_is_told_by_the_key_id);
    tcase_add_test(all, what_cannot_be_read_is_named_and_proves_nothing);
    tcase_add_test(all, an_envelope_of_another_format_is_named_and_proves_nothing);
    tcase_add_test(all, what_is_no_envelope_under_the_name_of_kekd_proves_nothing);
    tcase_add_test(all, keys_that_are_no_objects_are_counted_too);
    tcase_add_test(all, a_nul_in_a_key_is_a_byte_like_any_other);
    tcase_add_test(all, tables_are_full_at_their_maximum_and_nothing_is_lost);
    tcase_add_loop_test(all, a_state_follows_from_what_is_counted, 0,
                        sizeof states / sizeof states[0]);
    tcase_add_loop_test(all, what_several_roots_make_of_an_envelope, 0,
                        sizeof forms / sizeof forms[0]);
    tcase_add_test(all, with_one_root_an_envelope_of_several_keks_proves_nothing);
    tcase_add_loop_test(all, the_worst_of_several_is_the_state_of_all, 0,
                        sizeof sums / sizeof sums[0]);
    suite_add_tcase(suite, all);
    return suite_run(suite);
}
