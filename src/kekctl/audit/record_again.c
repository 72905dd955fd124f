#include "record_again.h"

#include <unistd.h>

#define LOOKS 100
#define LOOK_US 10000

static struct kek_audit_end read_next(const char *path)
{
    char name[PATH_MAX];
    struct kek_audit_end next;
    struct kek_why why;
    if (!kek_audit_next_name(path, name) ||
        kek_audit_record_read(name, &next, NULL, &why) != KEK_OK) {
        next = (struct kek_audit_end){.n = 0};
    }
    return next;
}

void record_again(struct check *check, const char *path)
{
    struct kek_audit_end now, next;
    struct kek_why why;
    for (size_t i = 0; i < check->chain_count; i++) {
        struct check_chain *chain = &check->chains[i];
        chain->is_of_another = kek_audit_is_of_another(path, chain->end.chain);
    }
    for (unsigned i = 0; i < LOOKS; i++) {
        if (kek_audit_record_read(path, &now, NULL, &why) != KEK_OK) {
            return;
        }
        next = read_next(path);
        if (check_record_now(check, &now, &next)) {
            return;
        }
        (void)usleep(LOOK_US);
    }
}
