/*
 * One KMS call on its way: what the files of this room share.  message.c (protobuf), call.c (how a call
 * begins and ends) and follow.c (which generation an Encrypt takes) know none of the others; status.c, seal.c (Encrypt) and open.c (Decrypt) use them; kms.c
 * has the table of methods.
 */
#ifndef KEK_KMS_CALL_H
#define KEK_KMS_CALL_H

#include "kek/arena.h"
#include "kek/kms.h"

#define KEY_ID_MAX 65          /* bytes of a key_id, likewise, with a NUL */
#define UID_MAX 128            /* bytes of a request's uid that are kept for log and audit */
#define V2_CIPHERTEXT_MAX 1024 /* KMS v2: more and the API server refuses it */
/* KMS v1: it is stored with a length of 16 bits, and must come back in a Decrypt request, which has 64 KiB
 * with everything around it. */
#define V1_CIPHERTEXT_MAX (64 * 1024 - 64)
/* Bytes of plaintexts and ciphertexts that wait for the HSM, of all calls: connections times streams times
 * the size of a message would be half a gigabyte. */
#define WAITING_MAX (32u * 1024 * 1024)
#define TURNS_MAX 4  /* of the primary, in one Encrypt */
#define DOUBTS_MAX 8 /* of a key that opened nothing, in one Decrypt */

/* What Status has said or an Encrypt has taken, what was announced last at the end: only these may a connection follow. */
#define TOLD_MAX 16

struct told {
    struct kek_generation generation;
    uint64_t left_ms; /* when another was announced in its place; 0: none was seen to be */
};

struct kek_kms {
    struct kek_kms_settings settings;
    size_t waiting; /* bytes of payloads */
    struct told told[TOLD_MAX];
    size_t told_count;
};

/* Ends by exactly one of call_reply, call_fail, or its rpc's `ended`; each frees it. */
struct call {
    struct kek_kms *kms;
    struct kek_rpc *rpc;
    enum kek_kms_method method;
    bool hsm;
    char uid[UID_MAX];
    char key_id[KEY_ID_MAX]; /* as the client named it until it is known to be right */
    bool has_kek;            /* kek_id is set: the one used, or that the ciphertext names */
    struct kek_id kek_id;
    size_t provider;                         /* whose HSM answered last; KEK_POOL_ANY: none did */
    struct kek_datakey_keks keks;            /* that were asked for, over all its waits */
    uint8_t opened;                          /* Decrypt: by which of them, a bit for each */
    const struct kek_datakey_damage *damage; /* while its key's `done` runs; NULL: none */
    struct kek_datakey_wait *wait;
    struct kek_roots_wait *look; /*   for tokens to be looked at again, or for another primary */
    size_t kept;                 /* bytes of its payload that count as waiting */
    /* Encrypt. */
    struct kek_secret *plaintext;     /* while waiting */
    struct kek_generation generation; /* that it is to be sealed under */
    unsigned turns;                   /* generations that came to be retired under it */
    /* Decrypt. */
    struct kek_envelope envelope; /* borrows from the request, or from sealed_copy while waiting */
    struct kek_bytes sealed;      /* likewise */
    struct kek_buf sealed_copy;
    size_t entry; /* of the envelope: the one that kek_id is of */
    bool looked;
    unsigned doubts;
    size_t context_first; /* the context tried first; 0 is config's own */
    size_t context_attempt;
    bool context_known; /* v2's key_id says which */
};

/* Per connection: what its last Status announced. */
struct peer_room {
    bool said;
    struct kek_generation generation;
};
_Static_assert(sizeof(struct peer_room) <= KEK_RPC_PEER_ROOM, "a peer has room for this");

/* call.c */
/* NULL: no memory, and the rpc has failed. */
struct call *call_new(struct kek_kms *kms, struct kek_rpc *rpc, enum kek_kms_method method);
/* Counts its payload as one that waits. False: too many bytes do, or too large; the call has failed. */
bool call_keeps(struct call *call, size_t len);
/* What it waited for is over: who answered, and for which KEK. */
void call_heard(struct call *call);
void call_reply(struct call *call, struct kek_bytes message);
void call_fail(struct call *call, enum kek_rc rc, const struct kek_why *why);

/* follow.c */
/* Status says this one to the call's connection. */
void follow_told(struct call *call, const struct kek_keyring_primary *primary);
/* The one to seal under: what the connection's Status said last, for a while after a change, else the primary. */
void follow_choose(const struct call *call, const struct kek_keyring_primary *primary,
                   struct kek_generation *generation);

/* status.c, seal.c, open.c */
void call_status(struct call *call);
void call_version(struct call *call);
void call_encrypt(struct call *call, struct kek_bytes plaintext);
void call_decrypt(struct call *call, struct kek_bytes sealed, struct kek_bytes key_id);
/* What all the KEKs of its envelope are called together, in that context: 0 is config's own, the others
 * follow in the order of context_accept. */
enum kek_rc call_name_key_id(const struct call *call, size_t context,
                             char key_id[static KEK_KEY_ID_TEXT], struct kek_why *why);

/* message.c: each reads or writes one message type. Views borrow from the arena. */
#define ARENA_BYTES (160u * 1024)

struct request {
    struct kek_bytes payload; /* plaintext or ciphertext */
    const char *uid;          /* "" where there is none */
    struct kek_bytes key_id;  /* of a v2 Decrypt, as it was sent */
};

/* KEK_INVALID: not such a message, or too large for the arena. key_id borrows from `message`. */
enum kek_rc message_read(enum kek_kms_method method, struct kek_bytes message,
                         struct kek_arena *arena, struct request *request, struct kek_why *why);

/* strings.c, on messages that protobuf-c has unpacked. The second: the string field `number`, to its end. */
struct ProtobufCMessageDescriptor;
bool strings_are_utf8(const struct ProtobufCMessageDescriptor *type, struct kek_bytes message);
struct kek_bytes string_as_sent(struct kek_bytes message, unsigned number);

bool message_write_status(const char *healthz, const char *key_id, struct kek_buf *out);
bool message_write_version(struct kek_buf *out);
/* Ciphertext or plaintext, by method; key_id for v2 Encrypt. */
bool message_write_payload(enum kek_kms_method method, struct kek_bytes payload, const char *key_id,
                           struct kek_buf *out);

#endif
