#include "record_again.h"

#include <unistd.h>

#define LOOKS 100
#define LOOK_US 10000

/* Have all of them come as far as the lines that were read? */
static bool others_have_come(struct check *check, const char *path)
{
    bool all = true;
    for (size_t i = 0; i < check->chain_count; i++) {
        struct kek_audit_end now, next;
        struct check_chain *chain = &check->chains[i];
        chain->is_of_another = kek_audit_is_of_another(path, chain->end.chain, &now, &next);
        if (chain->is_of_another) {
            all = check_other_now(chain, &now, &next) && all;
        }
    }
    return all;
}

static bool own_has_come(struct check *check, const char *path)
{
    struct kek_audit_end now;
    struct kek_why why;
    if (kek_audit_record_read(path, &now, NULL, &why) != KEK_OK) {
        return true;
    }
    struct kek_audit_end next = kek_audit_next_read(path);
    return check_record_now(check, &now, &next);
}

void record_before(struct check *check, const char *path)
{
    check->other_count = kek_audit_all_ends(path, check->others, CHECK_CHAINS_MAX);
}

void record_again(struct check *check, const char *path)
{
    bool all = false;
    for (unsigned i = 0; i < LOOKS && !all; i++) {
        if (i > 0) {
            (void)usleep(LOOK_US);
        }
        bool others = others_have_come(check, path);
        all = own_has_come(check, path) && others;
    }
}
