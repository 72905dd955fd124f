/*
 * What went wrong, in two parts.
 *
 * enum kek_rc is the class a caller acts on; struct kek_why says it to people and keeps the native
 * cause (CK_RV, errno, libuv or nghttp2 code) all the way up.  A why is written only on failure, by
 * whoever saw the failure first; it never holds key bytes or a PIN.  Callers may pass NULL for it.
 * Any thread; nothing here allocates or fails.
 */
#ifndef KEK_RC_H
#define KEK_RC_H

#include <stdarg.h>

#include "kek/auto.h"

enum kek_rc {
    KEK_OK = 0,
    KEK_INVALID,       /* the caller's bytes, text or arguments are malformed */
    KEK_DAMAGED,       /* an envelope or wrapped key does not authenticate */
    KEK_TOO_LARGE,     /* over a stated limit */
    KEK_NOT_FOUND,     /* no such file, token, key, version */
    KEK_DENIED,        /* refused by policy: peer, PIN, file mode, key attributes */
    KEK_PRECONDITION,  /* exists, but its state forbids this: KEK deactivated, missing, lost */
    KEK_UNAVAILABLE,   /* nobody can serve this now; later may work */
    KEK_DEADLINE,      /* the deadline passed first */
    KEK_CANCELLED,     /* the caller gave up */
    KEK_EXHAUSTED,     /* a queue, a table or an arena is full */
    KEK_NO_MEMORY,     /* an allocation failed */
    KEK_UNIMPLEMENTED, /* no such method or ability */
    KEK_INTERNAL,      /* anything that should not happen */
};

/* Whose numbering `code` of a kek_why is. */
enum kek_native {
    KEK_NATIVE_NONE = 0,
    KEK_NATIVE_ERRNO,
    KEK_NATIVE_PKCS11, /* CK_RV */
    KEK_NATIVE_UV,
    KEK_NATIVE_NGHTTP2,
    KEK_NATIVE_HTTP,
};

/* What a failure can be told by, beyond its class, where somebody knows a cure for it; the text is for people, and may change. */
enum kek_reason {
    KEK_REASON_NONE = 0,
    /* Of a worker's start, by their numbers in proto/provider.proto. */
    KEK_REASON_NO_TOKEN,       /* the module shows tokens, and none is the one that is asked for */
    KEK_REASON_NO_TOKEN_SHOWN, /* it shows none */
    KEK_REASON_TOKENS_ALIKE,   /* more than one is the one that is asked for */
    KEK_REASONS_OF_WORKERS,
    /* Of what leads to a login. */
    KEK_REASON_PIN_FILE = KEK_REASONS_OF_WORKERS, /* it cannot be read, or nothing takes it so */
    KEK_REASON_PIN_LOCKED,                        /* the token takes no PIN any more */
    KEK_REASON_PIN_LAST_TRY,                      /* it takes one more, and nobody tries it */
    KEK_REASON_LOGIN_TURN, /* another process has the token's turn to log in */
    /* Of a keyring's record. */
    KEK_REASON_RECORD_CONTEXT, /* it is of another context */
    KEK_REASON_RECORD_DAMAGED,
};

#define KEK_WHY_TEXT 512

struct kek_why {
    enum kek_rc rc;
    enum kek_reason reason;
    enum kek_native native;
    unsigned long code;
    char text[KEK_WHY_TEXT]; /* one line, NUL-terminated, truncated with "..." if too long */
};

/* A lower-case name that is stable for logs and metrics: "damaged", "unavailable". */
const char *kek_rc_name(enum kek_rc rc);

/* Likewise: "errno", "pkcs11", ...; NULL for KEK_NATIVE_NONE. */
const char *kek_native_name(enum kek_native native);

/* Fills *why (if not NULL) and returns rc, so that a failure is one statement. */
enum kek_rc kek_fail(struct kek_why *why, enum kek_rc rc, const char *format, ...) KEK_PRINTF(3, 4);

/* The same with a native cause. For KEK_NATIVE_ERRNO, ": " and strerror(code) are appended. */
enum kek_rc kek_fail_native(struct kek_why *why, enum kek_rc rc, enum kek_native native,
                            unsigned long code, const char *format, ...) KEK_PRINTF(5, 6);

/* Says of a failure that is there what it can be told by; returns why->rc. why: not NULL. */
enum kek_rc kek_fail_reason(struct kek_why *why, enum kek_reason reason);

/* Puts "<prefix>: " before the text that is there, as the failure travels up; returns why->rc. */
enum kek_rc kek_fail_within(struct kek_why *why, enum kek_rc rc, const char *format, ...)
    KEK_PRINTF(3, 4);

#endif
