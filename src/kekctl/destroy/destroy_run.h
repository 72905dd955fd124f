/*
 * What the parts of `key destroy` share: one run of it.  destroy_look() asks tokens, nodes and files;
 * destroy_suspend(), destroy_keys() and destroy_finish() do what the plan says.
 */
#ifndef KEKCTL_DESTROY_RUN_H
#define KEKCTL_DESTROY_RUN_H

#include "kekctl/key/changes.h"
#include "destroy_file.h"

struct destroy_run {
    const struct ctl *ctl;
    struct keys keys;
    struct kek_config *whole; /* with all roots of trust, which etcd is read by */
    struct nodes nodes;
    struct evidence *evidence;
    struct destroy_record record;
    struct destroy_facts facts;
    struct destroy_plan plan;
    char context_sha256[65];
    char etcd_context_sha256[KEK_CONFIG_ETCDS_MAX][65];
    char serials[KEK_CONFIG_PROVIDERS_MAX][64];
    struct destroy_live live[KEK_CONFIG_ETCDS_MAX];
    struct changes changes; /* the suspension */
    struct announced announced;
    struct {
        enum change_outcome outcome; /* TODO: not reached; ALREADY: it was not there */
        struct kek_why why;
    } ends[KEK_CONFIG_PROVIDERS_MAX]; /* the destruction, by provider */
};

/* False after saying why nothing is known, then *code is the exit code. */
bool destroy_look(struct destroy_run *run, enum ctl_exit *code);

/* destroy_live.c: reads each etcd of which the plan says that inventories prove it empty. */
void destroy_look_live(struct destroy_run *run);

/* Each says what it did and what is next. */
enum ctl_exit destroy_suspend(struct destroy_run *run);
enum ctl_exit destroy_keys(struct destroy_run *run);
enum ctl_exit destroy_finish(struct destroy_run *run);

/* An audit line that is about no provider. `why` may be NULL. */
void destroy_on_record(struct destroy_run *run, const char *event, const char *outcome,
                       const char *state, const struct kek_why *why);

#endif
