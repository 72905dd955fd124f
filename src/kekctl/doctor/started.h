/* Which configuration a command line of kekd names: a unit's, or that of a process. */
#ifndef KEKCTL_DOCTOR_STARTED_H
#define KEKCTL_DOCTOR_STARTED_H

#include <stdbool.h>

struct started {
    const char *path; /* is it this one? */
    const char *
        root; /* "/proc/7/root": where its paths begin, as far as this process may look there; "": here */
    bool next, named, same;
};

/* The next word. Returns true, so that it may be given to unit_each(). */
bool started_take(void *started, const char *word);

/* After all of them: is it that one?  Where none was named it is the one by default. */
bool started_is_same(const struct started *started);

#endif
