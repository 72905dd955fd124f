/*
 * Nodes that are asked by ssh: each is one ssh process, whose output is taken as far as it may go.
 * ssh asks for no password (BatchMode), reads nothing from the terminal, and ends at the deadline at the latest.
 */
#ifndef KEKCTL_NODE_SSH_H
#define KEKCTL_NODE_SSH_H

#include <sys/types.h>

#include "kek/bytes.h"

struct node_ssh {
    const char *host; /* borrowed */
    pid_t pid;        /* 0: it has ended */
    int out, err;     /* -1: closed */
    struct kek_buf output, complaint;
    bool done;
    enum kek_rc rc; /* of what is done; KEK_OK: output is whole */
    struct kek_why why;
};

/* A name that ssh takes for a host, and not for an option. */
bool node_ssh_is_host(const char *host);

/* What cannot begin is done at once. max: bytes of its output. */
void node_ssh_start(struct node_ssh *ssh, const char *host, size_t max);
/* The descriptors that it waits for; returns how many, at most two. */
size_t node_ssh_fds(const struct node_ssh *ssh, int fds[static 2]);
/* Takes what is there without waiting. */
void node_ssh_turn(struct node_ssh *ssh);
/* Kills it if it has not ended. */
void node_ssh_end(struct node_ssh *ssh);

#endif
