#include "become.h"

#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <unistd.h>

bool become(const struct who *who)
{
    const struct passwd *user = getpwuid(who->uid);
    if (user != NULL) {
        (void)setenv("HOME", user->pw_dir, 1); /* where libraries look for files of their own */
    }
    return setgroups((size_t)who->group_count, who->groups) == 0 &&
           setresgid(who->gid, who->gid, who->gid) == 0 &&
           setresuid(who->uid, who->uid, who->uid) == 0;
}
