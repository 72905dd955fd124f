/*
 * The answer to a range, as it comes: pieces of any size in, one pair at a time out.  What it keeps is the
 * pair that is not whole yet.  The header comes before the pairs (etcd writes fields in order), so whoever
 * gets a pair knows which cluster it is of.  Pure; one thread.
 */
#ifndef ETCD_STREAM_H
#define ETCD_STREAM_H

#include "kek/etcd.h"
#include "kek/protobuf.h"
#include "message.h"

#define STREAM_HEADER_MAX 256 /* bytes */
#define STREAM_KEY_TEXT 200   /* bytes of a key in a message, with the NUL */

enum stream_state {
    STREAM_FRAME,
    STREAM_TAG,
    STREAM_NUMBER,
    STREAM_LENGTH,
    STREAM_BYTES,
    STREAM_END
};

struct stream_to {
    /* Anything but KEK_OK ends it, with that rc and why. */
    enum kek_rc (*header)(void *arg, const struct message_header *header, struct kek_why *why);
    kek_etcd_take_fn *pair;
    void *arg;
};

struct stream {
    struct stream_to to;
    enum stream_state state;
    size_t at;      /* bytes so far */
    size_t framed;  /* bytes of the frame so far */
    size_t left[2]; /* bytes of the answer, and of the pair in it, that are to come */
    unsigned depth; /* 1: in a pair */
    struct kek_protobuf_varint varint; /* that is being read */
    uint32_t field;
    size_t want;          /* bytes of the field that are to come */
    struct kek_buf *keep; /* where they go; NULL: nowhere */
    struct kek_buf header, key, value;
    int64_t mod_revision;
    bool headed;
    /* Of the answer: */
    size_t pairs;
    bool more;
    int64_t count;
};

void stream_init(struct stream *stream, const struct stream_to *to);
void stream_done(struct stream *stream);

/* For another answer; keeps the memory. */
void stream_reset(struct stream *stream);

/* KEK_DAMAGED: this is no such answer; KEK_TOO_LARGE: a key or value is past its maximum, and named. */
enum kek_rc stream_take(struct stream *stream, struct kek_bytes piece,
                        struct kek_why *why) KEK_MUST_CHECK;

/* Is it whole? */
enum kek_rc stream_end(const struct stream *stream, struct kek_why *why) KEK_MUST_CHECK;

/* As messages have it: what is no text in it is '?'. */
void stream_key_text(struct kek_bytes key, char out[STREAM_KEY_TEXT]);

#endif
