/*
 * What the kms commands share: one connection, messages by protobuf-c, plaintext in kek_secret.
 */
#ifndef KEKCTL_KMS_H
#define KEKCTL_KMS_H

#include <protobuf-c/protobuf-c.h>

#include "grpc_client.h"
#include "kekctl/kekctl.h"

#define KMS_INPUT_MAX (64u * 1024) /* bytes of standard input */

struct kms {
    const struct ctl *ctl;
    struct kek_config *config; /* NULL: none was needed, --socket says enough */
    char *socket;
    struct grpc_client *client;
    enum ctl_exit code; /* of what failed */
};

/* Hardens the process and finds out which socket is meant; connects to it. False after saying why, then
 * kms->code is the exit code. */
bool kms_open(struct kms *kms, const struct ctl *ctl);
bool kms_connect(struct kms *kms);
void kms_close(struct kms *kms);
#define KMS_AUTO __attribute__((cleanup(kms_close)))

/* One call. NULL after saying why. The answer lives in kek_secret and ends with kms_answer_free(). */
ProtobufCMessage *kms_call(struct kms *kms, const char *method, const ProtobufCMessage *request,
                           const ProtobufCMessageDescriptor *answer);
void kms_answer_free(void *answer);

/* Reads standard input to its end, then connects (kekd waits 10 s for a client's first words, and an
 * operator may type for longer), and lets `use` make its call with that. */
typedef enum ctl_exit kms_input_fn(struct kms *kms, ProtobufCBinaryData input);
enum ctl_exit kms_with_input(const struct ctl *ctl, kms_input_fn *use);

#define KMS_UID_TEXT 37
bool kms_uid(struct kms *kms, char uid[static KMS_UID_TEXT]); /* a fresh UUID, version 4 */

/* {"<name>": "<base64>"} on standard output, without the bytes leaving kek_secret. */
enum ctl_exit kms_print_base64(struct kms *kms, const char *name, struct kek_bytes bytes);

enum ctl_exit kms_no_memory(struct kms *kms);

#endif
