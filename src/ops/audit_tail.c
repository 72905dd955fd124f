#include "audit_tail.h"

#include <stdio.h>
#include <string.h>

#define NODE_FIELD 512 /* bytes, for a node's name */

size_t audit_tail_whole(const char *bytes, size_t len)
{
    const char *feed = memrchr(bytes, '\n', len);
    return feed == NULL ? 0 : (size_t)(feed + 1 - bytes);
}

bool audit_end_equal(const struct kek_audit_end *a, const struct kek_audit_end *b)
{
    return a->n == b->n && strcmp(a->chain, b->chain) == 0 && strcmp(a->hash, b->hash) == 0;
}

/* One line more; `at` is where what follows the record has come to. */
static void take(struct audit_tail *tail, struct kek_audit_hasher *hasher, struct kek_bytes line,
                 const struct kek_audit_end *record, struct kek_audit_end *at)
{
    struct kek_audit_link link;
    if (!kek_audit_link_read(line, &link) || strcmp(link.end.chain, record->chain) != 0) {
        return;
    }
    if (link.end.n == at->n + 1 && strcmp(link.prev, at->hash) == 0 &&
        kek_audit_link_holds(hasher, line, &link)) {
        *at = link.end;
    }
    tail->has = true;
    tail->end = link.end;
}

struct audit_tail audit_tail_look(struct kek_audit_hasher *hasher, struct kek_bytes bytes,
                                  bool from_start, const struct kek_audit_end *record)
{
    struct audit_tail tail = {.torn = 0};
    struct kek_audit_end at = *record;
    const uint8_t *next = bytes.data, *end = bytes.data + bytes.len;
    bool whole = from_start;
    while (next < end) {
        const uint8_t *feed = memchr(next, '\n', (size_t)(end - next));
        if (feed == NULL) {
            tail.torn = (size_t)(end - next);
            break;
        }
        if (whole) {
            take(&tail, hasher, kek_bytes(next, (size_t)(feed + 1 - next)), record, &at);
        }
        whole = true;
        next = feed + 1;
    }
    tail.follows = tail.has && audit_end_equal(&tail.end, &at);
    return tail;
}

/* Every line of kekd's and kekctl's has these in front of what differs; in a text that a line shows, quotes are escaped. */
static bool is_by(struct kek_bytes line, const char *node)
{
    char field[NODE_FIELD];
    int len = snprintf(field, sizeof field, ",\"node\":\"%s\",\"event\":\"", node);
    return len < NODE_FIELD && memmem(line.data, line.len, field, (size_t)len) != NULL;
}

bool audit_tail_of_node(struct kek_bytes bytes, bool from_start, const char *node,
                        struct kek_audit_end *end)
{
    struct kek_audit_link link;
    const uint8_t *next = bytes.data, *stop = bytes.data + bytes.len, *feed;
    bool whole = from_start, found = false;
    while (next < stop && (feed = memchr(next, '\n', (size_t)(stop - next))) != NULL) {
        struct kek_bytes line = kek_bytes(next, (size_t)(feed + 1 - next));
        if (whole && is_by(line, node) && kek_audit_link_read(line, &link)) {
            *end = link.end;
            found = true;
        }
        whole = true;
        next = feed + 1;
    }
    return found;
}
