/* Paths, as texts. Pure. */
#ifndef KEKCTL_DOCTOR_BELOW_H
#define KEKCTL_DOCTOR_BELOW_H

#include <stdbool.h>
#include <stddef.h>

/* Is the absolute path this folder, or in it? */
bool below_is(const char *path, const char *folder);

/* The folder that the file is in: "/" of "/x". False: there is no room. */
bool below_folder(const char *path, char *folder, size_t size);

#endif
