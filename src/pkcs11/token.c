#include "token.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS_MAX 1024
#define STEP KEK__PROVIDER__STEP__TOKEN

void kek_p11_text_pad(uint8_t *text, size_t width)
{
    uint8_t *end = memchr(text, '\0', width);
    if (end != NULL) {
        memset(end, ' ', width - (size_t)(end - text));
    }
}

void kek_p11_text(const uint8_t *text, size_t width, char *out)
{
    size_t len = strnlen((const char *)text, width);
    while (len > 0 && text[len - 1] == ' ') {
        len--;
    }
    memcpy(out, text, len);
    out[len] = '\0';
}

/* The tokens that there are, for messages: "'a' serial 1, 'b' serial 2, and more". */
struct roll {
    char text[240];
    size_t len;
    bool cut;
};

static void roll_add(struct roll *roll, const CK_TOKEN_INFO *info)
{
    static const char more[] = ", and more";
    if (roll->cut) {
        return;
    }
    char label[sizeof info->label + 1], serial[sizeof info->serialNumber + 1];
    size_t room = sizeof roll->text - sizeof more - roll->len;
    kek_p11_text(info->label, sizeof info->label, label);
    kek_p11_text(info->serialNumber, sizeof info->serialNumber, serial);
    int len = snprintf(roll->text + roll->len, room, "%s'%s' serial %s", roll->len > 0 ? ", " : "",
                       label, serial);
    if (len > 0 && (size_t)len < room) {
        roll->len += (size_t)len;
    } else {
        memcpy(roll->text + roll->len, more, sizeof more);
        roll->cut = true;
    }
}

struct search {
    CK_FUNCTION_LIST *f;
    const struct kek_p11_uri *uri;
    size_t matches, blank; /* blank: tokens that nobody has initialized */
    CK_SLOT_ID slot;
    CK_TOKEN_INFO info;
    struct roll all, matching;
    char alike[KEK_PROVIDER_ALIKE_MAX][KEK_PROVIDER_SERIAL_LEN_MAX]; /* of those that match */
    struct kek_p11_outcome trouble; /* why a slot could not be looked into; CKR_OK: all could */
};

static struct kek_p11_outcome ask(CK_FUNCTION_LIST *f, CK_SLOT_ID slot, CK_SLOT_INFO *slot_info,
                                  CK_TOKEN_INFO *info)
{
    struct kek_p11_outcome outcome = kek_p11_get_slot_info(f, slot, slot_info);
    if (kek_p11_good(outcome)) {
        outcome = kek_p11_get_token_info(f, slot, info);
    }
    if (kek_p11_good(outcome)) {
        kek_p11_text_pad(slot_info->slotDescription, sizeof slot_info->slotDescription);
        kek_p11_text_pad(slot_info->manufacturerID, sizeof slot_info->manufacturerID);
        kek_p11_text_pad(info->label, sizeof info->label);
        kek_p11_text_pad(info->manufacturerID, sizeof info->manufacturerID);
        kek_p11_text_pad(info->model, sizeof info->model);
        kek_p11_text_pad(info->serialNumber, sizeof info->serialNumber);
    }
    return outcome;
}

/* Returns whether the slot answered. */
static bool look_into(struct search *search, CK_SLOT_ID slot)
{
    CK_SLOT_INFO slot_info;
    CK_TOKEN_INFO info;
    struct kek_p11_outcome outcome = ask(search->f, slot, &slot_info, &info);
    if (!kek_p11_good(outcome)) {
        search->trouble = outcome;
        return false;
    }
    if ((info.flags & CKF_TOKEN_INITIALIZED) == 0) {
        search->blank++;
        return true;
    }
    roll_add(&search->all, &info);
    if (!kek_p11_uri_matches_token(search->uri, slot, &slot_info, &info)) {
        return true;
    }
    roll_add(&search->matching, &info);
    if (search->matches < KEK_PROVIDER_ALIKE_MAX) {
        kek_p11_text(info.serialNumber, sizeof info.serialNumber, search->alike[search->matches]);
    }
    search->matches++;
    search->slot = slot;
    search->info = info;
    return true;
}

static bool list_slots(CK_FUNCTION_LIST *f, CK_SLOT_ID **slots, CK_ULONG *count,
                       struct kek_provider_failure *failure)
{
    CK_ULONG n = SLOTS_MAX;
    KEK_AUTO_FREE CK_SLOT_ID *all = calloc(SLOTS_MAX, sizeof *all);
    if (all == NULL) {
        return kek_p11_fail(failure, STEP, KEK__PROVIDER__CAUSE__BUSY, "no memory for a slot list");
    }
    struct kek_p11_outcome outcome = kek_p11_get_slots(f, NULL, &n);
    if (kek_p11_good(outcome)) {
        /* Some modules only look for tokens when asked for the number. */
        n = SLOTS_MAX;
        outcome = kek_p11_get_slots(f, all, &n);
    }
    if (!kek_p11_good(outcome)) {
        return kek_p11_fail_as(failure, STEP, KEK__PROVIDER__CAUSE__LINK, outcome);
    }
    *slots = KEK_STEAL(all);
    *count = n < SLOTS_MAX ? n : SLOTS_MAX;
    return true;
}

/* Without the list of slots at first, since that may be what waits for the dead one. */
static bool look_into_named(struct search *search, CK_SLOT_ID slot,
                            struct kek_provider_failure *failure)
{
    if (look_into(search, slot)) {
        return true;
    }
    KEK_AUTO_FREE CK_SLOT_ID *slots = NULL;
    CK_ULONG count;
    if (!list_slots(search->f, &slots, &count, failure)) {
        return false;
    }
    search->trouble.rv = CKR_OK;
    (void)look_into(search, slot);
    return true;
}

/* Slots may be numbered anew, and the URI's label may be another token's too: only the very token that was
 * found there before excuses the others from being asked. */
static bool is_where_it_was(struct search *search, const Kek__Provider__Seen *seen)
{
    char serial[sizeof search->info.serialNumber + 1];
    struct search here = {.f = search->f, .uri = search->uri};
    if (seen == NULL || seen->serial[0] == '\0' || !look_into(&here, (CK_SLOT_ID)seen->slot) ||
        here.matches == 0) {
        return false;
    }
    kek_p11_text(here.info.serialNumber, sizeof here.info.serialNumber, serial);
    if (strcmp(serial, seen->serial) != 0) {
        return false;
    }
    *search = here;
    return true;
}

static bool look_into_all(struct search *search, struct kek_provider_failure *failure)
{
    KEK_AUTO_FREE CK_SLOT_ID *slots = NULL;
    CK_ULONG count;
    if (!list_slots(search->f, &slots, &count, failure)) {
        return false;
    }
    bool one_will_do = kek_p11_uri_has_serial(search->uri);
    for (CK_ULONG i = 0; i < count && !(one_will_do && search->matches > 0); i++) {
        (void)look_into(search, slots[i]);
    }
    return true;
}

static bool no_match(const struct search *search, struct kek_provider_failure *failure)
{
    const char *shown = search->all.len > 0  ? search->all.text
                        : search->blank == 0 ? "none at all"
                                             : "none that is initialized";
    if (kek_p11_good(search->trouble)) {
        kek_p11_fail(failure, STEP, KEK__PROVIDER__CAUSE__LINK,
                     "no token matches the URI; the module shows %s", shown);
    } else {
        kek_p11_fail_as(failure, STEP, KEK__PROVIDER__CAUSE__LINK, search->trouble);
        (void)kek_fail_within(&failure->why, failure->why.rc,
                              "no token matches the URI, and not all could be asked; the module "
                              "shows %s",
                              shown);
    }
    (void)kek_fail_reason(&failure->why,
                          search->all.len > 0 ? KEK_REASON_NO_TOKEN : KEK_REASON_NO_TOKEN_SHOWN);
    return false;
}

bool kek_p11_token_find(CK_FUNCTION_LIST *f, const struct kek_p11_uri *uri,
                        const Kek__Provider__Seen *seen, CK_SLOT_ID *slot, CK_TOKEN_INFO *info,
                        struct kek_provider_failure *failure)
{
    struct search search = {.f = f, .uri = uri};
    CK_SLOT_ID named;
    bool good = true;
    if (kek_p11_uri_slot(uri, &named)) {
        good = look_into_named(&search, named, failure);
    } else if (!is_where_it_was(&search, seen)) {
        good = look_into_all(&search, failure);
    }
    if (!good) {
        return false;
    }
    if (search.matches == 0) {
        return no_match(&search, failure);
    }
    if (search.matches > 1) {
        kek_p11_fail(failure, STEP, KEK__PROVIDER__CAUSE__BAD_REQUEST,
                     "%zu tokens match the URI (%s): name one by its serial", search.matches,
                     search.matching.text);
        memcpy(failure->alike, search.alike, sizeof failure->alike);
        (void)kek_fail_reason(&failure->why, KEK_REASON_TOKENS_ALIKE);
        return false;
    }
    *slot = search.slot;
    *info = search.info;
    return true;
}
