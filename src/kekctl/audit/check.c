#include "check_parts.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kek/text.h"

static const char zeros[] = "0000000000000000000000000000000000000000000000000000000000000000";
_Static_assert(sizeof zeros == KEK_SHA256_TEXT, "what is before a chain's first line");

bool check_init(struct check *check, const struct kek_audit_end *record, uint64_t mac_interval_ms)
{
    *check = (struct check){.has_record = record != NULL, .mac_interval_ms = mac_interval_ms};
    if (record != NULL) {
        check->record = *record;
    }
    return kek_audit_hasher_init(&check->hasher);
}

void check_done(struct check *check)
{
    for (size_t i = 0; i < check->chain_count; i++) {
        free(check->chains[i].kept);
    }
    kek_audit_hasher_done(&check->hasher);
}

const char *check_kind_name(enum check_kind kind)
{
    static const char *const names[] = {
        [CHECK_CHANGED] = "changed", [CHECK_UNCHAINED] = "unchained", [CHECK_MISSING] = "missing",
        [CHECK_AGAIN] = "again",     [CHECK_RELINKED] = "relinked",   [CHECK_TOLD] = "told",
        [CHECK_CUT] = "cut",         [CHECK_RECORD] = "record",       [CHECK_CHAINS] = "chains",
        [CHECK_UNMACED] = "unmaced", [CHECK_UNKNOWN] = "unknown",     [CHECK_MAC] = "mac",
        [CHECK_UNREAD] = "unread",   [CHECK_NOTHING] = "nothing",
    };
    return names[kind];
}

/* ---- what is not as it must be ---- */

static void problem_at(struct check *check, enum check_kind kind, struct check_place at,
                       const char *format, va_list args) KEK_PRINTF(4, 0);
static void problem_at(struct check *check, enum check_kind kind, struct check_place at,
                       const char *format, va_list args)
{
    struct check_problem *last =
        check->problem_count > 0 ? &check->problems[check->problem_count - 1] : NULL;
    bool runs = kind == CHECK_AGAIN || kind == CHECK_UNCHAINED;
    if (runs && last != NULL && last->kind == kind && last->at.file == at.file &&
        last->to + 1 == at.line) {
        last->to = at.line;
        return;
    }
    if (check->problem_count == CHECK_PROBLEMS_MAX) {
        check->more++;
        return;
    }
    struct check_problem *problem = &check->problems[check->problem_count++];
    *problem = (struct check_problem){.kind = kind, .at = at, .to = at.line};
    vsnprintf(problem->text, sizeof problem->text, format, args);
    kek_text_clean(problem->text); /* a line says what it likes */
}

void check_say(struct check *check, enum check_kind kind, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    problem_at(check, kind, check->at, format, args);
    va_end(args);
}

static void problem_of_piece(struct check *check, const char *format, ...) KEK_PRINTF(2, 3);
static void problem_of_piece(struct check *check, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    problem_at(check, CHECK_UNCHAINED, check->piece_at, format, args);
    va_end(args);
}

void check_no_record(struct check *check, const char *text)
{
    check_say(check, CHECK_RECORD, "expected a record of the chain in state_dir: %s", text);
}

void check_damaged_count(struct check *check)
{
    check_say(
        check, CHECK_RECORD,
        "expected a count of lost lines, or none, in the record of the chain in state_dir: what "
        "is there cannot be read, so any number of lines may be missing");
}

bool check_may_be_unread(const struct check *check, const struct check_place *last,
                         const char *file)
{
    return check->unread && last->file != file;
}

/* ---- lines without a chain ---- */

static void give_up_piece(struct check *check)
{
    if (check->piece_waits) {
        problem_of_piece(check, "expected the four fields of a chain at its end, found none");
        check->piece_waits = false;
        check->bad++;
    }
}

/* Whatever stands before the first chained line is of a kekd that had no chain yet, unless it has a field of one. */
static bool chain_can_begin(const struct check *check)
{
    return check->chain_count == 0 && check->bad == 0 && !check->piece_was_chained;
}

/* No text that a line shows can look like this: its quotes are escaped. */
static bool shows_field(struct kek_bytes line)
{
    static const char prev[] = ",\"prev\":\"", hash[] = ",\"hash\":\"";
    return memmem(line.data, line.len, prev, sizeof prev - 1) != NULL ||
           memmem(line.data, line.len, hash, sizeof hash - 1) != NULL;
}

/* The one before is no piece that a line tells of; this one may be. */
static void take_unchained(struct check *check, struct kek_bytes line)
{
    if (!chain_can_begin(check)) {
        give_up_piece(check);
    }
    check->piece_was_chained = shows_field(line);
    if (chain_can_begin(check)) {
        check->before++;
    }
    check->piece_waits = true;
    check->piece_at = check->at;
    check->piece_bytes = line.len - 1;
    if (!kek_sha256_text(kek_bytes(line.data, line.len - 1), check->piece_sha256)) {
        check->piece_sha256[0] = '\0';
    }
}

static void settle_piece(struct check *check, const struct telling *telling)
{
    bool told = check->piece_waits && telling->kind == TELLING_TORN &&
                telling->bytes == check->piece_bytes &&
                strcmp(telling->sha256, check->piece_sha256) == 0;
    if (told) {
        check->torn++;
        check->before -= chain_can_begin(check);
        check->piece_waits = false;
    } else if (telling->kind == TELLING_TORN) {
        check_say(check, CHECK_UNCHAINED,
                  "expected before it the %" PRIu64
                  " bytes of a line that was never finished, with "
                  "SHA-256 %s",
                  telling->bytes, telling->sha256);
    } else if (chain_can_begin(check)) {
        check->piece_waits = false;
    }
    give_up_piece(check);
}

/* ---- MACs ---- */

static struct check_kept *kept_at(const struct check_chain *chain, uint64_t n)
{
    return &chain->kept[n % KEK_AUDIT_MAC_SPAN];
}

/* Of what is known to be a lower-case digit. */
static unsigned digit_of(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'a' + 10);
}

static void keep_hash(struct check_chain *chain, uint64_t n, const char *hash)
{
    if (chain->kept == NULL) {
        return;
    }
    struct check_kept *kept = kept_at(chain, n);
    kept->n = n;
    for (size_t i = 0; i < CHECK_HASH; i++) {
        kept->hash[i] = (uint8_t)(16 * digit_of(hash[2 * i]) + digit_of(hash[2 * i + 1]));
    }
}

/* A line with a MAC that stands in its place. */
static void take_mac(struct check *check, struct check_chain *chain, const struct telling *telling)
{
    chain->macs++;
    if (telling->mac_len == 0 || telling->covers == 0 || telling->covers >= chain->end.n ||
        chain->end.n - telling->covers >= KEK_AUDIT_MAC_SPAN) {
        check_say(check, CHECK_MAC, "expected a MAC of a line before it, found none");
        return;
    }
    if (chain->kept == NULL || telling->covers < chain->first) {
        return; /* nobody asks, or that line is older than what is here */
    }
    if (kept_at(chain, telling->covers)->n != telling->covers) {
        check_say(check, check->unread ? CHECK_UNREAD : CHECK_MAC,
                  "the MAC of line %" PRIu64 " of chain %s: it was not checked: that line is "
                  "not here",
                  telling->covers, chain->end.chain);
        return;
    }
    struct check_mac *mac = &chain->mac;
    chain->mac_waits = true;
    *mac = (struct check_mac){.at = check->at, .n = chain->end.n, .telling = *telling};
    mac->covers.n = telling->covers;
    memcpy(mac->covers.chain, chain->end.chain, sizeof chain->end.chain);
    kek_hex(kek_bytes(kept_at(chain, telling->covers)->hash, CHECK_HASH), mac->covers.hash);
}

void check_mac_good(struct check_chain *chain, const char *provider)
{
    chain->maced = chain->mac.covers.n;
    chain->maced_at = chain->mac.n;
    snprintf(chain->maced_by, sizeof chain->maced_by, "%s", provider);
}

uint64_t check_unmaced(const struct check_chain *chain)
{
    bool is_own = chain->maced_at == chain->end.n && chain->maced + 1 == chain->end.n;
    return is_own ? 0 : chain->end.n - chain->maced;
}

void check_mac_problem(struct check *check, const struct check_chain *chain, const char *text)
{
    struct check_place at = check->at;
    check->at = chain->mac.at;
    check_say(check, CHECK_MAC, "the MAC of line %" PRIu64 " of chain %s: %s", chain->mac.covers.n,
              chain->mac.covers.chain, text);
    check->at = at;
}

static void keep_pace(struct check *check, struct check_chain *chain, struct kek_bytes line,
                      struct telling *telling)
{
    if (check->mac_interval_ms == 0) {
        return;
    }
    telling_time(line, telling);
    if (!pace_line(&chain->pace, telling, check->mac_interval_ms)) {
        return;
    }
    check_say(check, CHECK_UNMACED,
              "line %" PRIu64 " of chain %s: expected a MAC before it, as audit.mac_interval is "
              "%" PRIu64
              " s, or a line that says that it failed, found neither: its MACs were cut, the "
              "token lost the key, or the interval was another",
              chain->end.n, chain->end.chain, check->mac_interval_ms / 1000);
}

/* ---- lines of a chain ---- */

struct check_chain *check_chain_of(struct check *check, const char *id)
{
    for (size_t i = check->chain_count; i > 0; i--) {
        if (strcmp(check->chains[i - 1].end.chain, id) == 0) {
            return &check->chains[i - 1];
        }
    }
    return NULL;
}

bool check_is_line_of(const struct kek_audit_end *record, const struct kek_audit_end *end)
{
    return end->n == record->n && strcmp(end->chain, record->chain) == 0;
}

void check_expect_hash(struct check *check, const struct kek_audit_end *record,
                       const struct kek_audit_end *end)
{
    if (strcmp(end->hash, record->hash) != 0) {
        check_say(check, CHECK_RECORD,
                  "line %" PRIu64 " of chain %s: expected the hash that is on record, %s, found %s",
                  end->n, end->chain, record->hash, end->hash);
    }
}

const struct kek_audit_end *check_other_of(const struct check *check, const char *chain)
{
    for (size_t i = 0; i < check->other_count; i++) {
        if (strcmp(check->others[i].chain, chain) == 0) {
            return &check->others[i];
        }
    }
    return NULL;
}

static void meet_record(struct check *check, const struct kek_audit_link *link)
{
    const struct kek_audit_end *other = check_other_of(check, link->end.chain);
    if (check->has_record && check_is_line_of(&check->record, &link->end)) {
        check->met_record = true;
        check_expect_hash(check, &check->record, &link->end);
    } else if (other != NULL && check_is_line_of(other, &link->end)) {
        check_expect_hash(check, other, &link->end);
    }
}

static void begin_chain(struct check *check, const struct kek_audit_link *link)
{
    if (check->chain_count == CHECK_CHAINS_MAX) {
        check_say(check, CHECK_CHAINS, "expected at most %d chains, found one more: %s",
                  CHECK_CHAINS_MAX, link->end.chain);
        return;
    }
    if (link->end.n == 1 && strcmp(link->prev, zeros) != 0) {
        check_say(check, CHECK_RELINKED, "line 1 of chain %s: expected 64 zeros as prev, found %s",
                  link->end.chain, link->prev);
    }
    check->chains[check->chain_count++] = (struct check_chain){
        .end = link->end, .first = link->end.n, .lines = 1, .from = check->at, .to = check->at};
    struct check_chain *chain = &check->chains[check->chain_count - 1];
    chain->kept =
        check->mac_interval_ms > 0 ? calloc(KEK_AUDIT_MAC_SPAN, sizeof chain->kept[0]) : NULL;
    if (check->mac_interval_ms > 0 && chain->kept == NULL) {
        check_say(check, CHECK_MAC, "the MACs of chain %s are not checked: no memory",
                  chain->end.chain);
    }
    keep_hash(chain, link->end.n, link->end.hash);
}

static void say_gone(uint64_t missing, bool unread, char gone[static 128])
{
    snprintf(gone, 128, "%s before it %s", kek_counted(missing, "line").text,
             unread         ? "not read, or missing"
             : missing == 1 ? "is missing"
                            : "are missing");
}

static void say_gap(struct check_problem *problem)
{
    const struct check_gap *gap = &problem->gap;
    uint64_t missing = gap->later < gap->lines ? gap->lines - gap->later : 0;
    char later[128] = "", gone[128] = "";
    if (gap->later > 0) {
        snprintf(later, sizeof later, "%s before it %s later", kek_counted(gap->later, "line").text,
                 gap->later == 1 ? "comes" : "come");
    }
    if (missing > 0) {
        say_gone(missing, problem->kind == CHECK_UNREAD, gone);
    }
    snprintf(problem->text, sizeof problem->text,
             "expected line %" PRIu64 " of chain %s, found line %" PRIu64
             ": %s%s%s; the last one is %s:%" PRIu64,
             gap->from, gap->chain->end.chain, gap->to, gone,
             missing > 0 && gap->later > 0 ? ", " : "", later, gap->last.file, gap->last.line);
    kek_text_clean(problem->text);
}

static void meet_gap(struct check *check, const struct check_chain *chain, uint64_t next,
                     uint64_t n)
{
    size_t before = check->problem_count;
    bool unread = check_may_be_unread(check, &chain->to, check->at.file);
    check_say(check, unread ? CHECK_UNREAD : CHECK_MISSING, "a gap");
    if (check->problem_count > before) {
        struct check_problem *problem = &check->problems[before];
        problem->gap = (struct check_gap){.chain = chain,
                                          .from = next,
                                          .to = n,
                                          .lines = n - next - check->bad,
                                          .last = chain->to};
        say_gap(problem);
    }
}

/* A line that stands in another place: perhaps one that was missing before. */
static void fill_gap(struct check *check, const struct check_chain *chain, uint64_t n)
{
    for (size_t i = 0; i < check->problem_count; i++) {
        struct check_problem *problem = &check->problems[i];
        struct check_gap *gap = &problem->gap;
        if (gap->chain == chain && n >= gap->from && n < gap->to && n > gap->newest) {
            gap->newest = n;
            gap->later++;
            say_gap(problem);
        }
    }
}

static void go_on(struct check *check, struct check_chain *chain, const struct kek_audit_link *link)
{
    uint64_t next = chain->end.n + 1, n = link->end.n;
    if (n < next) {
        fill_gap(check, chain, n);
        check_say(check, CHECK_AGAIN,
                  "expected line %" PRIu64 " of chain %s, found line %" PRIu64
                  ": it stands here again, or in another place than it was written in",
                  next, chain->end.chain, n);
        return;
    }
    if (n - next > check->bad) {
        meet_gap(check, chain, next, n);
    } else if (n == next && strcmp(link->prev, chain->end.hash) != 0) {
        check_say(check, CHECK_RELINKED,
                  "line %" PRIu64 " of chain %s: expected prev to be the hash of %s:%" PRIu64
                  ", %s, found %s",
                  n, chain->end.chain, chain->to.file, chain->to.line, chain->end.hash, link->prev);
    }
    chain->end = link->end;
    chain->lines++;
    chain->to = check->at;
    if (n > next) {
        keep_hash(chain, n - 1, link->prev); /* of a line that is changed or missing */
    }
    keep_hash(chain, n, link->end.hash);
}

static void take_chained(struct check *check, struct kek_bytes line,
                         const struct kek_audit_link *link)
{
    char found[KEK_SHA256_TEXT] = "none, for want of memory";
    struct telling telling;
    if (!kek_audit_link_sum(&check->hasher, line, link, found) ||
        strcmp(found, link->end.hash) != 0) {
        give_up_piece(check);
        check_say(check, CHECK_CHANGED, "was changed: expected SHA-256 %s, found %s",
                  link->end.hash, found);
        check->bad++;
        return;
    }
    telling_read(line, &telling);
    settle_piece(check, &telling);
    meet_record(check, link);
    struct check_chain *chain = check_chain_of(check, link->end.chain);
    if (chain == NULL) {
        begin_chain(check, link);
    } else {
        go_on(check, chain, link);
    }
    bool in_place = chain != NULL && chain->end.n == link->end.n;
    if (in_place) {
        keep_pace(check, chain, line, &telling);
    }
    if (in_place && telling.kind == TELLING_MAC) {
        take_mac(check, chain, &telling);
    }
    if (telling.kind == TELLING_DROPPED) {
        check->dropped += telling.lines;
        check->dropped_at_most += telling.at_most;
    }
    if (telling.kind == TELLING_BROKEN) {
        check_say(check, CHECK_TOLD, "tells of what was found here: %s", telling.error);
    }
    check->bad = 0;
}

void check_file(struct check *check, const char *name)
{
    check->at = (struct check_place){.file = name};
}

void check_line(struct check *check, struct kek_bytes line)
{
    struct kek_audit_link link;
    check->at.line++;
    check->lines++;
    if (kek_audit_link_read(line, &link)) {
        take_chained(check, line, &link);
    } else {
        take_unchained(check, line);
    }
}

void check_piece(struct check *check, size_t len)
{
    check->at.line++;
    check_say(check, CHECK_CUT, "expected a line feed, found the end of the file after %s",
              kek_counted(len, "byte").text);
}

void check_long(struct check *check)
{
    check->at.line++;
    check->lines++;
    give_up_piece(check);
    check_say(check, CHECK_CHANGED, "expected a line of kekd, found a longer one than it writes");
    check->bad++;
}

void check_give_up(struct check *check)
{
    if (!chain_can_begin(check)) {
        give_up_piece(check);
    }
}
