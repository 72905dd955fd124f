#include "check_parts.h"

#include <inttypes.h>
#include <string.h>

#include "kek/text.h"

static bool is_on_record(const struct check *check, const struct check_chain *chain)
{
    return check->has_record && strcmp(chain->end.chain, check->record.chain) == 0;
}

static void say_unknown(struct check *check, const struct check_chain *chain)
{
    bool asked = !check->is_end_alone || chain->macs == 0;
    check->at = chain->from;
    check_say(check, CHECK_UNKNOWN,
              "chain %s begins here: expected it on record in state_dir%s: another node's, one "
              "whose record is lost, or one that somebody put in; %s%s",
              chain->end.chain,
              asked ? ", or a MAC of it that could be asked for, found neither" : ", found it not",
              kek_counted(chain->lines, "line").text,
              asked ? "" : "; kekctl audit verify asks for its MACs");
}

/* Anybody can begin a chain, or go on with one that nobody writes any more.  With the record each other one is told, less what
 * a MAC vouches for; without it, one without a MAC to ask for, among others whose MACs are the token's. */
static void tell_unknown(struct check *check)
{
    bool maced = false;
    for (size_t i = 0; i < check->chain_count; i++) {
        maced = maced || check->chains[i].maced > 0;
    }
    for (size_t i = 0; i < check->chain_count; i++) {
        const struct check_chain *chain = &check->chains[i];
        if (is_on_record(check, chain) || chain->is_of_another) {
            continue;
        }
        if (chain->maced == 0 && chain->mac.at.file == NULL && (check->has_record || maced)) {
            say_unknown(check, chain);
        } else if (chain->maced > 0 && check->has_record && check_unmaced(chain) > 0) {
            check->at = chain->to;
            check_say(
                check, CHECK_UNKNOWN,
                "the last line here of chain %s: expected the chain on record in state_dir, or "
                "a MAC up to line %" PRIu64 ", found one of line %" PRIu64
                ": what is past it was written before the record was lost, is another node's, or "
                "was put in by somebody",
                chain->end.chain, chain->end.n, chain->maced);
        }
    }
}

/* newest: the last file that was read. */
static void expect_record(struct check *check, const char *newest)
{
    if (!check->has_record || check->met_record) {
        return;
    }
    const struct check_chain *chain = check_chain_of(check, check->record.chain);
    if (chain == NULL) {
        check->at = (struct check_place){.file = NULL};
        check_say(check, check->unread ? CHECK_UNREAD : CHECK_RECORD,
                  "expected a line of chain %s, which is on record with %s, found none%s",
                  check->record.chain, kek_counted(check->record.n, "line").text,
                  check->unread ? " in what was read" : "");
    } else if (chain->end.n < check->record.n) {
        bool unread = check_may_be_unread(check, &chain->to, newest);
        check->at = chain->to;
        check_say(check, unread ? CHECK_UNREAD : CHECK_RECORD,
                  "the last line here of chain %s: expected lines up to %" PRIu64
                  ", as is on record, found %" PRIu64 ": the end is %s",
                  chain->end.chain, check->record.n, chain->end.n,
                  unread ? "in a file that was not read, or missing" : "missing, or a file");
    }
}

static bool is_past(const struct check_chain *chain, const struct kek_audit_end *now,
                    const struct kek_audit_end *next)
{
    bool is_next = strcmp(chain->end.chain, next->chain) == 0 && chain->end.n == next->n &&
                   strcmp(chain->end.hash, next->hash) == 0;
    return chain->end.n > now->n && !is_next;
}

bool check_record_now(struct check *check, const struct kek_audit_end *now,
                      const struct kek_audit_end *next)
{
    const struct check_chain *chain = check_chain_of(check, now->chain);
    check->has_now = true;
    check->now = *now;
    check->next = *next;
    return chain == NULL || !is_past(chain, now, next);
}

bool check_other_now(struct check_chain *chain, const struct kek_audit_end *now,
                     const struct kek_audit_end *next)
{
    chain->other_now = *now;
    chain->other_next = *next;
    return !is_past(chain, now, next);
}

static void say_past(struct check *check, const struct check_chain *chain,
                     const struct kek_audit_end *now)
{
    check->at = chain->to;
    check_say(
        check, CHECK_RECORD,
        "the last line here of chain %s: expected lines up to %" PRIu64
        ", as is on record, found %" PRIu64
        ": what is past it was written as kekd or the machine was stopped, or by an older kekd "
        "that was killed (it had no .audit-next), or before state_dir was restored, or was put in "
        "by somebody",
        chain->end.chain, now->n, chain->end.n);
}

/* Lines are on record before they are sent to a receiver, and right after they are written to a file. */
static void expect_no_more(struct check *check)
{
    const struct check_chain *chain =
        check->has_now ? check_chain_of(check, check->now.chain) : NULL;
    if (chain != NULL && is_past(chain, &check->now, &check->next)) {
        say_past(check, chain, &check->now);
    }
}

/* The record vouches for lines up to the one that it is of, and for no other. */
static void expect_other(struct check *check, const struct check_chain *chain, const char *newest)
{
    const struct kek_audit_end *now = &chain->other_now,
                               *before = check_other_of(check, now->chain);
    bool ends_before = before != NULL && chain->end.n < before->n;
    check->at = chain->to;
    if (is_past(chain, now, &chain->other_next)) {
        say_past(check, chain, now);
    } else if (check_is_line_of(now, &chain->end) && (before == NULL || before->n != now->n)) {
        check_expect_hash(check, now, &chain->end);
    } else if (ends_before && !check->is_end_alone &&
               (chain->maced == 0 || check_unmaced(chain) > 0)) {
        check_say(check,
                  check_may_be_unread(check, &chain->to, newest) ? CHECK_UNREAD : CHECK_RECORD,
                  "the last line here of chain %s, of another keyring in state_dir: expected lines "
                  "up to %" PRIu64 ", as is on record, found %" PRIu64
                  ": the end is in a file that was not read, or missing, or somebody put these in",
                  chain->end.chain, before->n, chain->end.n);
    }
}

static void expect_others(struct check *check, const char *newest)
{
    for (size_t i = 0; i < check->chain_count; i++) {
        const struct check_chain *chain = &check->chains[i];
        bool is_own = is_on_record(check, chain) ||
                      (check->has_now && strcmp(chain->end.chain, check->now.chain) == 0);
        if (chain->is_of_another && !is_own) {
            expect_other(check, chain, newest);
        }
    }
}

void check_end(struct check *check)
{
    const char *newest = check->at.file;
    check_give_up(check);
    tell_unknown(check);
    expect_record(check, newest);
    expect_no_more(check);
    expect_others(check, newest);
}

void check_nothing(struct check *check, const char *what)
{
    if (check->chain_count > 0 || check->problem_count > 0) {
        return;
    }
    check->at = (struct check_place){.file = NULL};
    check_say(check, CHECK_NOTHING,
              "nothing was checked: expected lines with a chain in %s, found none among %s", what,
              kek_counted(check->lines, "line").text);
}
