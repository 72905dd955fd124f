/*
 * What is wrong with one object, as it lies there: the second half of counting it (inventory_tally.h).  Pure.
 */
#ifndef KEKCTL_INVENTORY_LOOK_H
#define KEKCTL_INVENTORY_LOOK_H

#include "inventory_tally.h"

#define TALLY_REST 0 /* the place of what found no room, among resources and covers */

/* Fit to print, and cut. */
void tally_text(struct kek_bytes bytes, char text[static TALLY_TEXT]);

/* Of the object that was counted last, under the tally's last resource and cover.  name NULL: the key is no object's;
 * damage: what kek_kube_parse() said of it; NULL: nothing.  As tally_take(). */
enum kek_rc tally_look(struct tally *tally, const struct kek_kube_stored *stored,
                       const struct kek_kube_name *name, struct kek_bytes key,
                       struct kek_bytes value, const char *damage,
                       struct kek_why *why) KEK_MUST_CHECK;

#endif
