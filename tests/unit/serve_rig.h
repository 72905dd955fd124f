/*
 * The worker's side of the protocol over a provider of fakes, for its tests: requests as structures, the
 * replies to them, and in `fake` what was asked of the provider and what it is to answer.
 */
#ifndef UNIT_SERVE_RIG_H
#define UNIT_SERVE_RIG_H

#include "suite.h"

#include "serve.h"

#define PROTOCOL KEK__PROVIDER__STEP__PROTOCOL
#define BAD KEK__PROVIDER__CAUSE__BAD_REQUEST

/* One at a time for a process; serve_setup() makes it all zero. */
struct fake {
    unsigned asked, sessions_opened; /* calls; it has three sessions to open */
    bool opened_as_officer;
    enum kek_state last_state;          /* of the last Generate or SetState */
    bool refuses, refuses_unwrap;       /* all calls, unwraps alone: step LOGIN, cause BUSY */
    struct kek_provider_versions shown; /* at a login and in a list */
};
extern struct fake fake;
extern const struct kek_provider_ops fake_ops;

extern uint8_t id_bytes[KEK_ID_LEN], key_bytes[KEK_DATA_KEY_LEN];

void serve_setup(void); /* a fixture: before each test */

/* One past its start, with one session of the fake's. */
struct kek_serve ready_worker(bool officer);

/* Packs a request, lets it be answered, unpacks the reply, which done() frees. */
Kek__Provider__Reply *answer(struct kek_serve *serve, const Kek__Provider__Request *request);
void done(Kek__Provider__Reply *reply);
void expect_failed(Kek__Provider__Reply *reply, int step, int cause); /* frees it */

#endif
