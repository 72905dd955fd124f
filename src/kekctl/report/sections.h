/* The sections of a report, in the order in which it has them: what each is called, and who makes and shows it. */
#ifndef KEKCTL_REPORT_SECTIONS_H
#define KEKCTL_REPORT_SECTIONS_H

#include "report.h"

struct report_part {
    const char *name, *title;
    const char *says; /* what it is evidence of, in a sentence or two */
    json_t *(*make)(struct report *report);
    json_t *(*make_of_root)(struct report_root *root); /* one of the two */
    void (*show)(struct page *page, const json_t *section);
};

#define REPORT_PARTS 12

extern const struct report_part report_parts[REPORT_PARTS];

/* All of them that are filled, or why not: [{name, title, filled, why}], those of a root behind its name.  NULL: no memory. */
json_t *report_overview(const json_t *json);

#endif
