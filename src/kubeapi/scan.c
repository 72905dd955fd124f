#include "scan.h"

#include <string.h>

enum state {
    VALUE = 0,  /* a value is due */
    FIRST_ITEM, /* a value, or the end of a list that is empty */
    FIRST_KEY,  /* a key, or the end of an object that is empty */
    KEY,        /* a key is due */
    COLON,      /* of a key */
    AFTER,      /* a comma or an end */
    STRING,     /* within one: a key's if is_key */
    ESCAPE,     /* after its backslash */
    UNICODE,    /* within \uXXXX */
    WORD,       /* within a number or true, false, null */
    DONE,
};

struct scan {
    struct scan_into into;
    enum state state;
    bool is_key;
    uint64_t offset; /* of the byte being looked at */
    size_t depth;    /* of what is open */
    uint8_t is_list[SCAN_DEPTH_MAX];
    char keys[SCAN_KEYS][SCAN_KEY_MAX]; /* of the innermost SCAN_KEYS at most: by depth */
    char value[SCAN_VALUE_MAX];
    size_t len;
    bool is_long;                   /* more came than there is room for */
    unsigned hex, hex_digits, high; /* of \u: so far, and the first half of a pair */
};

struct scan *scan_new(const struct scan_into *into)
{
    struct scan *scan = calloc(1, sizeof *scan);
    if (scan != NULL) {
        scan->into = *into;
    }
    return scan;
}

void scan_free(struct scan *scan)
{
    if (scan != NULL) {
        kek_wipe(scan->value, sizeof scan->value);
        free(scan);
    }
}

static enum kek_rc bad(const struct scan *scan, const char *what, struct kek_why *why)
{
    return kek_fail(why, KEK_INVALID, "the answer is no JSON: %s at byte %llu", what,
                    (unsigned long long)scan->offset);
}

static void keep(struct scan *scan, char byte)
{
    if (scan->len + 1 < sizeof scan->value) {
        scan->value[scan->len++] = byte;
    } else {
        scan->is_long = true;
    }
}

static void keep_character(struct scan *scan, unsigned code)
{
    if (code < 0x80) {
        keep(scan, (char)code);
    } else if (code < 0x800) {
        keep(scan, (char)(0xc0 | code >> 6));
    } else if (code < 0x10000) {
        keep(scan, (char)(0xe0 | code >> 12));
    } else {
        keep(scan, (char)(0xf0 | code >> 18));
        keep(scan, (char)(0x80 | (code >> 12 & 0x3f)));
    }
    if (code >= 0x800) {
        keep(scan, (char)(0x80 | (code >> 6 & 0x3f)));
    }
    if (code >= 0x80) {
        keep(scan, (char)(0x80 | (code & 0x3f)));
    }
}

static void after(struct scan *scan)
{
    scan->state = scan->depth == 0 ? DONE : AFTER;
}

/* A text that ended, or a word. */
static enum kek_rc tell(struct scan *scan, struct kek_why *why)
{
    scan->value[scan->len] = '\0';
    /* A NUL within would end it early for whoever reads. */
    bool told = !scan->is_long && strlen(scan->value) == scan->len;
    after(scan);
    return scan->depth <= SCAN_KEYS
               ? scan->into.value(scan->into.arg, (const char(*)[SCAN_KEY_MAX])scan->keys,
                                  scan->depth, told ? scan->value : NULL, why)
               : KEK_OK;
}

static void take_key(struct scan *scan)
{
    scan->value[scan->len] = '\0';
    if (scan->depth <= SCAN_KEYS) {
        bool fits = !scan->is_long && scan->len < SCAN_KEY_MAX && strlen(scan->value) == scan->len;
        memcpy(scan->keys[scan->depth - 1], fits ? scan->value : "", fits ? scan->len + 1 : 1);
    }
    scan->state = COLON;
}

static void begin_text(struct scan *scan, bool is_key, enum state state)
{
    scan->is_key = is_key;
    scan->state = state;
    scan->len = 0;
    scan->is_long = false;
    scan->high = 0;
}

static enum kek_rc open_one(struct scan *scan, bool is_list, struct kek_why *why)
{
    if (scan->depth == SCAN_DEPTH_MAX) {
        return bad(scan, "it is nested too deeply", why);
    }
    scan->is_list[scan->depth++] = is_list;
    if (scan->depth <= SCAN_KEYS) {
        memcpy(scan->keys[scan->depth - 1], is_list ? "[]" : "", is_list ? 3 : 1);
    }
    scan->state = is_list ? FIRST_ITEM : FIRST_KEY;
    return KEK_OK;
}

static enum kek_rc close_one(struct scan *scan, bool is_list, struct kek_why *why)
{
    if (scan->depth == 0 || scan->is_list[scan->depth - 1] != is_list) {
        return bad(scan, "an end without a beginning", why);
    }
    scan->depth--;
    after(scan);
    return is_list || scan->depth > SCAN_KEYS
               ? KEK_OK
               : scan->into.end(scan->into.arg, (const char(*)[SCAN_KEY_MAX])scan->keys,
                                scan->depth, why);
}

static enum kek_rc begin_value(struct scan *scan, char byte, struct kek_why *why)
{
    if (byte == '{' || byte == '[') {
        return open_one(scan, byte == '[', why);
    }
    if (byte == '"') {
        begin_text(scan, false, STRING);
        return KEK_OK;
    }
    if (byte == '-' || (byte >= '0' && byte <= '9') || byte == 't' || byte == 'f' || byte == 'n') {
        begin_text(scan, false, WORD);
        keep(scan, byte);
        return KEK_OK;
    }
    return bad(scan, "expected a value", why);
}

static bool is_space(char byte)
{
    return byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t';
}

/* Between values. */
static enum kek_rc take_mark(struct scan *scan, char byte, struct kek_why *why)
{
    if (is_space(byte)) {
        return KEK_OK;
    }
    switch (scan->state) {
    case FIRST_ITEM:
        return byte == ']' ? close_one(scan, true, why) : begin_value(scan, byte, why);
    case FIRST_KEY:
        if (byte == '}') {
            return close_one(scan, false, why);
        }
        begin_text(scan, true, STRING);
        return byte == '"' ? KEK_OK : bad(scan, "expected a key or the object's end", why);
    case KEY:
        begin_text(scan, true, STRING);
        return byte == '"' ? KEK_OK : bad(scan, "expected a key", why);
    case COLON:
        scan->state = VALUE;
        return byte == ':' ? KEK_OK : bad(scan, "expected a colon", why);
    case AFTER:
        if (byte == ',') {
            scan->state = scan->is_list[scan->depth - 1] ? VALUE : KEY;
            return KEK_OK;
        }
        return byte == '}' || byte == ']' ? close_one(scan, byte == ']', why)
                                          : bad(scan, "expected a comma", why);
    case DONE:
        return bad(scan, "something follows", why);
    default:
        return begin_value(scan, byte, why);
    }
}

static bool is_word(const struct scan *scan)
{
    static const char *const words[] = {"true", "false", "null"};
    const char *at = scan->value;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(at, words[i]) == 0) {
            return true;
        }
    }
    at += *at == '-';
    return *at >= '0' && *at <= '9' && at[strspn(at, "0123456789+-.eE")] == '\0';
}

static enum kek_rc end_word(struct scan *scan, struct kek_why *why)
{
    scan->value[scan->len] = '\0';
    return scan->is_long || !is_word(scan) ? bad(scan, "no such word or number", why)
                                           : tell(scan, why);
}

static enum kek_rc take_hex(struct scan *scan, char byte, struct kek_why *why)
{
    static const char digits[] = "0123456789abcdef";
    const char *digit = byte < '0' ? NULL : strchr(digits, byte | 0x20);
    if (digit == NULL) {
        return bad(scan, "expected four hexadecimal digits", why);
    }
    scan->hex = scan->hex << 4 | (unsigned)(digit - digits);
    if (++scan->hex_digits < 4) {
        return KEK_OK;
    }
    bool low = scan->hex >= 0xdc00 && scan->hex < 0xe000;
    bool high = scan->hex >= 0xd800 && scan->hex < 0xdc00;
    if (low && scan->high != 0) {
        keep_character(scan, 0x10000 + ((scan->high - 0xd800) << 10) + (scan->hex - 0xdc00));
    } else if (!high) {
        keep_character(scan, low ? 0xfffd : scan->hex);
    }
    scan->high = high ? scan->hex : 0;
    scan->state = STRING;
    return KEK_OK;
}

static enum kek_rc take_escape(struct scan *scan, char byte, struct kek_why *why)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (byte == 'u') {
        scan->state = UNICODE;
        scan->hex = 0;
        scan->hex_digits = 0;
        return KEK_OK;
    }
    const char *at = byte == '\0' ? NULL : strchr(from, byte);
    if (at == NULL) {
        return bad(scan, "no such escape", why);
    }
    keep(scan, to[at - from]);
    scan->state = STRING;
    return KEK_OK;
}

static enum kek_rc take_text(struct scan *scan, char byte, struct kek_why *why)
{
    if (byte == '\\') {
        scan->state = ESCAPE;
        return KEK_OK;
    }
    if (byte == '"') {
        if (scan->is_key) {
            take_key(scan);
            return KEK_OK;
        }
        return tell(scan, why);
    }
    if ((unsigned char)byte < ' ') {
        return bad(scan, "a control character in a text", why);
    }
    keep(scan, byte);
    return KEK_OK;
}

static enum kek_rc take(struct scan *scan, char byte, struct kek_why *why)
{
    switch (scan->state) {
    case STRING:
        return take_text(scan, byte, why);
    case ESCAPE:
        return take_escape(scan, byte, why);
    case UNICODE:
        return take_hex(scan, byte, why);
    case WORD:
        if (is_space(byte) || byte == ',' || byte == '}' || byte == ']') {
            enum kek_rc rc = end_word(scan, why);
            return rc == KEK_OK ? take_mark(scan, byte, why) : rc;
        }
        keep(scan, byte);
        return KEK_OK;
    default:
        return take_mark(scan, byte, why);
    }
}

enum kek_rc scan_feed(struct scan *scan, struct kek_bytes piece, struct kek_why *why)
{
    for (size_t i = 0; i < piece.len; i++, scan->offset++) {
        enum kek_rc rc = take(scan, (char)piece.data[i], why);
        if (rc != KEK_OK) {
            return rc;
        }
    }
    return KEK_OK;
}

enum kek_rc scan_end(const struct scan *scan, struct kek_why *why)
{
    return scan->state == DONE ? KEK_OK : bad(scan, "it ends early", why);
}
