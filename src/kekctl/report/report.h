/*
 * kekctl report: what there is to show an auditor, gathered from where it is known already, as JSON and as a page.
 *
 * The JSON object is the report; the page is rendered from it and says nothing that is not in it.  It is made of sections,
 * a file each: one function gathers it, one shows it.  A section that cannot be filled says why, and none guesses: what is
 * not known is said to be.  Sections of a root of trust are made for each root, while its workers run.
 */
#ifndef KEKCTL_REPORT_REPORT_H
#define KEKCTL_REPORT_REPORT_H

#include "audit_log.h"
#include "kek/keyring.h"
#include "kekctl/key/keys.h"
#include "page.h"

#define REPORT_KIND "kekd report"
#define REPORT_FORMAT 1
#define REPORT_COMMAND "kekctl " PACKAGE_VERSION /* that made it */

struct report {
    struct ctl *ctl;
    const struct kek_config *config; /* with all roots that the report is about */
    const struct kek_config *whole;  /* with all that there are */
    int64_t now_ms;                  /* since 1970 */
    struct audit_log log;
    json_t *attention; /* sentences: what is not as it must be */
};

/* One root of trust, while its workers run. */
struct report_root {
    struct report *report;
    struct keys *keys;
    struct kek_keyring *ring; /* what this node's kekd has on record; NULL: ring_why says why not */
    struct kek_why ring_why;
    json_t *shown;     /* of key_describe() */
    json_t *scheduled; /* what its provider destroys by itself: rows of report_history() */
    bool answers[KEK_CONFIG_PROVIDERS_MAX]; /* which providers did, when they were listed */
    size_t answered;                        /* how many those are */
};

/* Puts a sentence among those that want attention. */
void report_attend(struct report *report, const char *format, ...) KEK_PRINTF(2, 3);

/* A section of this content, which is handed over, as is `why`: sentences that say what is missing and why; empty where
 * nothing is.  any: something is there all the same.  NULL: no memory, as it is for a part that is NULL. */
json_t *report_section(json_t *content, json_t *why, bool any);

/* A row that is handed over, behind those that are there. False: no memory, and report_is_whole() says so from then on, so
 * that nobody writes a report that lacks one. */
bool report_add(json_t *list, json_t *row);
/* The same of a sentence. */
bool report_say(json_t *sentences, const char *format, ...) KEK_PRINTF(2, 3);

/* Has every row and sentence found its place? */
bool report_is_whole(void);

/* RFC 3339 with seconds; "not known" of 0. */
json_t *report_date(int64_t ms);

/* A member that is a string; empty where it is none. Borrowed. */
const char *report_text(const json_t *object, const char *key);

/* The provider of this name; how many there are where there is none. */
size_t report_provider(const struct keys *keys, const char *name);

/* A version of this root that is shown, or was destroyed, by its kek id in hexadecimal; NULL: it is none. Borrowed. */
const json_t *report_version(const struct report_root *root, const char *kek_id);

/* All versions of the root, each once, by number: members of key_describe(). NULL: no memory. */
json_t *report_versions_once(const struct report_root *root);

/* Gather: NULL means that there was no memory. */
json_t *report_software(struct report *report);
json_t *report_configuration(struct report *report);
json_t *report_algorithms(struct report *report);
json_t *report_boundary(struct report *report);
json_t *report_usage(struct report *report);
json_t *report_tokens(struct report_root *root);
json_t *report_versions(struct report_root *root);
json_t *report_scheduled(struct report_root *root); /* `scheduled` of a root */
json_t *report_history(struct report_root *root);
json_t *report_cryptoperiods(struct report_root *root);
json_t *report_objects(struct report_root *root);
json_t *report_proofs(struct report_root *root);
json_t *report_fitness(struct report_root *root);

/* Show: what a section has beside its words. */
void report_software_show(struct page *page, const json_t *section);
void report_configuration_show(struct page *page, const json_t *section);
void report_algorithms_show(struct page *page, const json_t *section);
void report_boundary_show(struct page *page, const json_t *section);
void report_usage_show(struct page *page, const json_t *section);
void report_tokens_show(struct page *page, const json_t *section);
void report_versions_show(struct page *page, const json_t *section);
void report_history_show(struct page *page, const json_t *section);
void report_cryptoperiods_show(struct page *page, const json_t *section);
void report_objects_show(struct page *page, const json_t *section);
void report_proofs_show(struct page *page, const json_t *section);
void report_fitness_show(struct page *page, const json_t *section);

#endif
