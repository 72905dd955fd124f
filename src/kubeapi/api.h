/* One API server, and the files of this room that ask it: api.c connects and sends, answer.c says what came of it. */
#ifndef KUBEAPI_API_H
#define KUBEAPI_API_H

#include "kek/kubeapi.h"

#define API_TIMEOUT_MS 40000u      /* of a call: the API server gives up on a write after 34 s */
#define API_ERROR_MAX (64u * 1024) /* bytes of a Status that are read */

/* Begins what `call` says: its url, send, what, resource, is_list and objects are set; the header lines are the
 * accept and, for what is sent, the content type. Borrowed until it is done. */
void api_start(struct kek_kubeapi *api, struct kek_kubeapi_call *call, const char *method,
               const char *accept, const char *content_type);

/* Ends it at once, with why->rc set. */
void api_failed(struct kek_kubeapi_call *call);

/* The server's URL; borrowed. */
const char *api_server(const struct kek_kubeapi *api);

/* A call that was sent is done: fills answer, why, by and retry_ms. */
void answer_read(struct kek_kubeapi_call *call);

#endif
