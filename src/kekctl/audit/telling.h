/* What an audit line tells of the file itself: few lines do more than when they were made. Pure. */
#ifndef KEKCTL_AUDIT_TELLING_H
#define KEKCTL_AUDIT_TELLING_H

#include "kek/digest.h"
#include "kek/wire.h"

enum telling_kind {
    TELLING_NOTHING = 0,
    TELLING_TORN,   /* bytes, sha256 */
    TELLING_BROKEN, /* error */
    TELLING_MAC,    /* covers, provider, mac_key, mac */
    TELLING_MAC_FAILED,
    TELLING_MAC_NONE, /* no token has a key for it */
    TELLING_START,    /* of kekd */
    TELLING_DROPPED,  /* lines, at_most */
};

struct telling {
    enum telling_kind kind;
    bool is_kekds;   /* it has a number of kekd's, and so is none of kekctl's and not of the file */
    int64_t wall_ms; /* when it was made; 0: it does not say */
    uint64_t bytes;
    uint64_t lines, at_most; /* at_most: no fewer than lines */
    char sha256[KEK_SHA256_TEXT];
    char error[256];
    uint64_t covers;
    char provider[64];
    struct kek_id mac_key;
    uint8_t mac[KEK_PROVIDER_MAC_MAX];
    size_t mac_len; /* 0: what the line says is no MAC */
};

/* Of a line whose hash holds: all but is_kekds and wall_ms, */
void telling_read(struct kek_bytes line, struct telling *telling);
/* and these two, which cost more and are wanted less often. */
void telling_time(struct kek_bytes line, struct telling *telling);

#endif
