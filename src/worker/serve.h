/*
 * The worker's side of the protocol without its socket: a packet in, a reply out.
 *
 * kek_serve_start() answers while the worker starts (Hello, then Login), on the main thread alone;
 * kek_serve_request() answers afterwards, on any thread that brings a session of its own.  Neither
 * does I/O but, when asked for its memory, a look at /proc/self: so both can be tested and fuzzed with
 * a table of fakes.  Every packet
 * gets exactly one reply of at most KEK_PROVIDER_MESSAGE_MAX bytes; one that cannot be understood
 * gets Failed{BAD_REQUEST} with id 0.
 */
#ifndef KEK_PROVIDER_SERVE_H
#define KEK_PROVIDER_SERVE_H

#include "kek/provider.h"

#include "provider.pb-c.h"

#define KEK_SERVE_SESSIONS_MAX 64 /* what the configuration allows at most */

enum kek_serve_stage {
    KEK_SERVE_WANTS_HELLO = 0,
    KEK_SERVE_WANTS_LOGIN,
    KEK_SERVE_READY,
    KEK_SERVE_FAILED, /* the start failed: nothing is served any more */
};

struct kek_serve {
    const struct kek_provider_ops *ops;
    bool officer; /* knows Generate, SetState, Destroy, Probe, Describe, TryKey, Attest */
    /* Written by kek_serve_start() alone, before any other thread runs. */
    enum kek_serve_stage stage;
    struct kek_provider *provider;
    uint32_t session_count;
    struct kek_provider_session *sessions[KEK_SERVE_SESSIONS_MAX];
};

/* `reply` is empty, with a limit of KEK_PROVIDER_MESSAGE_MAX. False: no memory for a reply. */
bool kek_serve_start(struct kek_serve *serve, struct kek_bytes packet,
                     struct kek_buf *reply) KEK_MUST_CHECK;
bool kek_serve_request(const struct kek_serve *serve, struct kek_provider_session *session,
                       struct kek_bytes packet, struct kek_buf *reply) KEK_MUST_CHECK;

/* serve_officer.c: the requests of that role alone, of a worker that has it. */
bool kek_serve_officer(const struct kek_serve *serve, struct kek_provider_session *session,
                       const Kek__Provider__Request *request, struct kek_buf *reply) KEK_MUST_CHECK;

/* again.c: adds to a reply what went well at a second try, where there is room for it. */
void kek_serve_add_again(struct kek_buf *reply);

/* serve_message.c: requests and replies as bytes. */

/* Memory of one unpacked request: wiped when freed, and bounded. */
struct kek_serve_memory {
    size_t left; /* bytes it may still hand out */
};

/* NULL: not a request. Free it with kek_serve_message_free() and the same memory. */
Kek__Provider__Request *kek_serve_message_read(struct kek_bytes packet,
                                               struct kek_serve_memory *memory);
void kek_serve_message_free(Kek__Provider__Request *request, struct kek_serve_memory *memory);

bool kek_serve_message_failed(struct kek_buf *reply, uint64_t id,
                              const struct kek_provider_failure *failure) KEK_MUST_CHECK;
/* Ready if ready is true, else Listed. */
bool kek_serve_message_versions(struct kek_buf *reply, uint64_t id, bool ready,
                                const struct kek_provider_versions *versions,
                                enum kek_wrap_alg alg) KEK_MUST_CHECK;
bool kek_serve_message_tried(struct kek_buf *reply, uint64_t id,
                             const struct kek_provider_tried *tried);
bool kek_serve_message_probed(struct kek_buf *reply, uint64_t id,
                              const struct kek_provider_probed *probed) KEK_MUST_CHECK;
bool kek_serve_message_described(struct kek_buf *reply, uint64_t id,
                                 const struct kek_provider_described *described) KEK_MUST_CHECK;
/* With as many certificates behind the first `skip` as there is room for. */
bool kek_serve_message_attested(struct kek_buf *reply, uint64_t id, uint32_t skip,
                                const struct kek_provider_attested *attested) KEK_MUST_CHECK;
bool kek_serve_message_reply(struct kek_buf *reply,
                             const Kek__Provider__Reply *message) KEK_MUST_CHECK;

/* What a packet that is too long gets. */
bool kek_serve_refuse(struct kek_buf *reply, const char *text) KEK_MUST_CHECK;
/* One failure of the protocol itself. */
bool kek_serve_refuse_with(struct kek_buf *reply, uint64_t id, Kek__Provider__Cause cause,
                           const char *text) KEK_MUST_CHECK;

/* False: not 16 bytes. */
bool kek_serve_take_id(ProtobufCBinaryData bytes, struct kek_id *id) KEK_MUST_CHECK;

#define KEK_SERVE_BAD_ID "a kek id has 16 bytes"
#define KEK_SERVE_NO_AUDIT_KEYS \
    "this type of provider makes no MACs: the audit log needs a PKCS#11 token for them"

#endif
