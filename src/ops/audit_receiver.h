/*
 * journald or a syslog daemon as a receiver of the audit log's lines: a datagram each, on its Unix socket.
 *
 * It gets copies of what is in the log's file, and what it does not take is lost there and counted, since the file has
 * it; or, where there is no file, it is the log, and what it does not take is the caller's to send again.  Neither
 * waits longer for a slow receiver than this, for what is handed over at once.  Blocks that long; one thread at a time.
 */
#ifndef KEK_OPS_AUDIT_RECEIVER_H
#define KEK_OPS_AUDIT_RECEIVER_H

#include "audit_text.h"
#include "kek/audit_link.h"

#define AUDIT_RECEIVER_COPY_MS 100
#define AUDIT_RECEIVER_TAKE_MS 1000

enum audit_receiver_form {
    AUDIT_RECEIVER_JOURNAL, /* the journal's native protocol: fields, a line each */
    AUDIT_RECEIVER_SYSLOG,  /* RFC 5424, without framing: a datagram is a message */
};

struct audit_receiver {
    enum audit_receiver_form form;
    const char *path; /* borrowed; NULL: there is no such receiver */
    const char *node;
    int fd; /* -1: not connected */
    bool failing;
    uint64_t lost; /* copies of lines */
};

void audit_receiver_init(struct audit_receiver *receiver, enum audit_receiver_form form,
                         const char *path, const char *node);
void audit_receiver_done(struct audit_receiver *receiver);

/* Is it there?  KEK_UNAVAILABLE. */
enum kek_rc audit_receiver_reach(struct audit_receiver *receiver,
                                 struct kek_why *why) KEK_MUST_CHECK;
/* Whoever listens at the path is connected to anew. */
void audit_receiver_leave(struct audit_receiver *receiver);

/* Sends a copy of each line.  True where that fails since now, or works again: `told` says which. */
bool audit_receiver_copy(struct audit_receiver *receiver, struct kek_bytes lines,
                         char told[static KEK_WHY_TEXT]);

/* Sends one line after the other, up to the first that is not taken.  *taken: bytes of them that are, whole lines all
 * of them, also on failure.  KEK_UNAVAILABLE: the rest may be sent later. */
enum kek_rc audit_receiver_take(struct audit_receiver *receiver, struct kek_bytes lines,
                                size_t *taken, struct kek_why *why) KEK_MUST_CHECK;

#endif
