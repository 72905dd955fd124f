/* Where Kubernetes keeps its own resources: which folder is which resource of which group. */
#ifndef KEK_KUBE_PLACES_H
#define KEK_KUBE_PLACES_H

#include "kek/bytes.h"

struct kube_place {
    const char *folder;   /* below the prefix; NULL ends nothing */
    const char *resource; /* NULL: called as the folder is */
    const char *group;
    bool never_encrypted;
};

/* NULL: no folder of Kubernetes' own, up to 1.37. */
const struct kube_place *kek_kube_place(struct kek_bytes folder);

#endif
