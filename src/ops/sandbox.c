#include "kek/sandbox.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* Two lines of libcap: its library would be one more thing in the front for them. */
static int capabilities_get(struct __user_cap_data_struct *data)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    return (int)syscall(SYS_capget, &head, data);
}

static int capabilities_set(const struct __user_cap_data_struct *data)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    return (int)syscall(SYS_capset, &head, data);
}

static uint64_t wanted(bool switches_user)
{
    uint64_t keep = 1ull << CAP_DAC_OVERRIDE | 1ull << CAP_DAC_READ_SEARCH | 1ull << CAP_IPC_LOCK;
    if (switches_user) {
        keep |= 1ull << CAP_SETUID | 1ull << CAP_SETGID | 1ull << CAP_KILL;
    }
    return keep;
}

/* The bounding set limits what a root worker's execve() gives back.  It needs CAP_SETPCAP: without it
 * there is nothing to limit, for no_new_privs already keeps execve() from adding any. */
static enum kek_rc bound(uint64_t keep, struct kek_why *why)
{
    for (unsigned long cap = 0; cap < 64; cap++) {
        if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) != 1 || (keep >> cap & 1) != 0) {
            continue;
        }
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0 && errno != EPERM) {
            return kek_fail_native(why, KEK_INTERNAL, KEK_NATIVE_ERRNO, (unsigned long)errno,
                                   "dropping capability %lu", cap);
        }
    }
    return KEK_OK;
}

enum kek_rc kek_sandbox_enter(bool switches_user, struct kek_why *why)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return kek_fail_native(why, KEK_INTERNAL, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "setting no_new_privs");
    }
    uint64_t keep = wanted(switches_user);
    enum kek_rc rc = bound(keep, why);
    if (rc != KEK_OK) {
        return rc;
    }
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    if (capabilities_get(data) != 0) {
        return kek_fail_native(why, KEK_INTERNAL, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "reading the capabilities");
    }
    for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
        uint32_t part = (uint32_t)(keep >> (32 * i));
        data[i].permitted &= part;
        data[i].effective &= part;
        data[i].inheritable &= part;
    }
    if (capabilities_set(data) != 0) {
        return kek_fail_native(why, KEK_INTERNAL, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "dropping capabilities");
    }
    return KEK_OK;
}
