/*
 * What a process of another PID namespace finds, as one in another container.
 */
#ifndef KEK_TESTS_APART_H
#define KEK_TESTS_APART_H

#include <sched.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

#include "suite.h"

/* Does it hold there?  Also where the machine allows no such namespace. */
static inline bool apart_holds(bool (*holds)(void))
{
    int status;
    pid_t outer = fork();
    ck_assert_int_ge(outer, 0);
    if (outer == 0) {
        bool apart = unshare(CLONE_NEWPID) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWPID) == 0;
        pid_t inner = apart ? fork() : -1;
        if (inner == 0) {
            _exit(holds() ? 0 : 1);
        }
        status = 0;
        _exit(inner < 0 || (waitpid(inner, &status, 0) == inner && status == 0) ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(outer, &status, 0), outer);
    return status == 0;
}

#endif
