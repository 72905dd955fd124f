/*
 * One KMS call on its way: what kms.c (the table, the endings), seal.c (Encrypt), open.c (Decrypt) and
 * message.c (protobuf) share.
 */
#ifndef KEK_KMS_CALL_H
#define KEK_KMS_CALL_H

#include "kek/kms.h"

#define UID_MAX 128            /* bytes of a request's uid that are kept for log and audit */
#define V2_CIPHERTEXT_MAX 1024 /* KMS v2: more and the API server refuses it */
/* KMS v1: it is stored with a length of 16 bits, and must come back in a Decrypt request, which has 64 KiB
 * with everything around it. */
#define V1_CIPHERTEXT_MAX (64 * 1024 - 64)

struct kek_kms {
    struct kek_kms_settings settings;
};

/* Ends by exactly one of call_reply, call_fail, or its rpc's `ended`; each frees it. */
struct call {
    struct kek_kms *kms;
    struct kek_rpc *rpc; /* NULL: it ended while the tokens were looked at for this call */
    enum kek_kms_method method;
    bool hsm;
    char uid[UID_MAX];
    char key_id[KEK_KEY_ID_TEXT];
    struct kek_datakey_wait *wait;
    /* Encrypt. */
    struct kek_id kek_id;
    struct kek_secret *plaintext; /* while waiting */
    /* Decrypt. */
    struct kek_bytes sealed; /* borrowed from the request, or of sealed_copy while waiting */
    struct kek_buf sealed_copy;
    bool refreshing, refreshed; /* the tokens are (were) looked at again for this call */
    size_t context_first;       /* the context tried first; 0 is config's own */
    size_t context_attempt;
    bool context_known; /* v2's key_id says which */
};

/* Per connection: what its last Status announced. */
struct peer_room {
    bool said;
    struct kek_id kek_id;
};
_Static_assert(sizeof(struct peer_room) <= KEK_RPC_PEER_ROOM, "a peer has room for this");

/* kms.c */
void call_reply(struct call *call, struct kek_bytes message);
void call_fail(struct call *call, enum kek_rc rc, const struct kek_why *why);
void call_free(struct call *call);

/* seal.c, open.c */
void call_encrypt(struct call *call, struct kek_bytes plaintext);
void call_decrypt(struct call *call, struct kek_bytes sealed, struct kek_bytes key_id);

/* message.c: each reads or writes one message type. Views borrow from `arena`, which wipes itself. */
#define ARENA_BYTES (160u * 1024)

struct arena {
    size_t used;
    _Alignas(16) uint8_t bytes[ARENA_BYTES];
};

struct request {
    struct kek_bytes payload; /* plaintext or ciphertext */
    const char *uid;          /* "" where there is none */
    struct kek_bytes key_id;  /* of a v2 Decrypt, as it was sent */
};

/* False: not such a message, or too large for the arena. */
bool message_read(enum kek_kms_method method, struct kek_bytes message, struct arena *arena,
                  struct request *request);
void arena_wipe(struct arena *arena);

bool message_write_status(const char *healthz, const char *key_id, struct kek_buf *out);
bool message_write_version(struct kek_buf *out);
/* Ciphertext or plaintext, by method; key_id for v2 Encrypt. */
bool message_write_payload(enum kek_kms_method method, struct kek_bytes payload, const char *key_id,
                           struct kek_buf *out);

#endif
