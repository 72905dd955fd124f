/*
 * The audit log's inside: audit.c gathers lines and writes them; audit_events.c says what is worth one.
 */
#ifndef KEK_OPS_AUDIT_LOG_H
#define KEK_OPS_AUDIT_LOG_H

#include "audit_line.h"
#include "kek/audit.h"

/* What was last said of the keyring, to tell a change. */
struct audit_seen {
    bool announced;
    char key_id[KEK_KEY_ID_TEXT];
    enum kek_keyring_state state;
    struct kek_keyring_version versions[KEK_AUDIT_VERSIONS_MAX];
    size_t count;
    uint64_t rejected_in; /* the second that `rejected` counts */
    unsigned rejected;
};

struct audit_seen *audit_seen(struct kek_audit *audit);

/* Where the next line goes: AUDIT_LINE_MAX bytes, or NULL if it is dropped. It takes a number either
 * way, so that a reader sees the gap. */
char *audit_begin(struct kek_audit *audit, struct audit_stamp **stamp);

/* The line has `len` bytes; 0: it is dropped, and counted. */
void audit_end(struct kek_audit *audit, size_t len);

#endif
