/*
 * What tests of the server need beyond its face: its timer's work, when they have moved the clock.
 */
#ifndef KEK_GRPC_SERVER_H
#define KEK_GRPC_SERVER_H

#include "kek/grpc.h"

/* Does what is due by kek_clock_ms(). */
void kek_grpc_server_tick(struct kek_grpc_server *server);

#endif
