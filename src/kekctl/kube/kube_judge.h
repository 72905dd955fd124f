/* Whether every stored object still has a reader after a phase. Pure. */
#ifndef KEKCTL_KUBE_JUDGE_H
#define KEKCTL_KUBE_JUDGE_H

#include "kekctl/inventory/inventory_tally.h"
#include "kube_config.h"

typedef void kube_say_fn(const struct ctl *ctl, const char *format, ...) KEK_PRINTF(2, 3);

/* Calls `say` (ctl_say) with a sentence for each group of objects, by resource and by what covers them, that no API
 * server with the new file would read, or that none reads with the present one.  Returns how many groups. */
size_t kube_judge(const struct kube_change *change, const struct tally *tally, kube_say_fn *say);

#endif
