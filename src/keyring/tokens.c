/*
 * Which tokens are this keyring's.
 *
 * One that opens a version that was agreed on is, and its serial is kept on record.  One that shows none may be the wrong
 * token, with keys of its own under the same names, or a replica that nobody filled: nothing that it alone has is taken.
 * Where every version that was on record is destroyed, as for a node that was away for long, the serial tells them apart,
 * once all providers answer and none of them shows more.
 */
#include "keyring/ring.h"

#include <string.h>

#include "kek/text.h"

static bool is_listed(const struct kek_keyring *ring, const char *serial)
{
    for (size_t i = 0; i < ring->token_count; i++) {
        if (strcmp(ring->tokens[i], serial) == 0) {
            return true;
        }
    }
    return false;
}

/* The oldest makes room. */
static void list_token(struct kek_keyring *ring, const char *serial)
{
    if (ring->token_count == TOKENS_MAX) {
        memmove(ring->tokens[0], ring->tokens[1], sizeof ring->tokens - sizeof ring->tokens[0]);
        ring->token_count--;
    }
    kek_text_copy(ring->tokens[ring->token_count++], sizeof ring->tokens[0], serial);
}

/* What may not be opened proves itself by its CKA_ID alone, which is random. */
static bool shows_what_is_agreed(const struct source *source)
{
    const struct version *version;
    DL_FOREACH (source->ring->versions, version) {
        const struct holding *holding = &version->held[source->index];
        bool shut = holding->settled && !holding->unwraps && holding->wrong == 0;
        if (version->agreed && holding->present && (holding->proven || shut)) {
            return true;
        }
    }
    return false;
}

/* Workers of one provider may be on different tokens, as while `uri` finds another one. */
static bool is_known_by_serial(const struct source *source)
{
    const struct member *member;
    size_t count = 0;
    DL_FOREACH (source->members, member) {
        if (!member->ended && !is_listed(source->ring, member->token)) {
            return false;
        }
        count += !member->ended;
    }
    return count > 0 && ring_answering(source->ring) == source->ring->source_count;
}

bool source_vouches(const struct source *source)
{
    return source_answers(source) && (shows_what_is_agreed(source) || is_known_by_serial(source));
}

bool ring_vouches(const struct kek_keyring *ring)
{
    for (size_t p = 0; p < ring->source_count; p++) {
        if (source_vouches(&ring->sources[p])) {
            return true;
        }
    }
    return false;
}

static bool opens_what_is_agreed(const struct member *member)
{
    const struct version *version;
    DL_FOREACH (member->source->ring->versions, version) {
        if (version->agreed && member->views[version->slot].witness == OPENED) {
            return true;
        }
    }
    return false;
}

bool tokens_learn(struct kek_keyring *ring)
{
    const struct member *member;
    bool learnt = false;
    MEMBER_FOREACH (ring, member) {
        if (kek_pool_is_serial(member->token) && !is_listed(ring, member->token) &&
            opens_what_is_agreed(member)) {
            list_token(ring, member->token);
            learnt = true;
        }
    }
    return learnt;
}

json_t *tokens_json(const struct kek_keyring *ring)
{
    json_t *list = json_array();
    for (size_t i = 0; i < ring->token_count; i++) {
        if (json_array_append_new(list, json_string(ring->tokens[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

void tokens_load(struct kek_keyring *ring, const json_t *list)
{
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item)
    {
        const char *serial = json_string_value(item);
        if (serial != NULL && strlen(serial) < sizeof ring->tokens[0] &&
            kek_pool_is_serial(serial) && !is_listed(ring, serial)) {
            list_token(ring, serial);
        }
    }
}
