/* The report as a page.  Pure: it shows what is in the JSON, and which file that is. */
#ifndef KEKCTL_REPORT_REPORT_PAGE_H
#define KEKCTL_REPORT_REPORT_PAGE_H

#include "sections.h"

/* sha256: of the JSON file's bytes. The page is to be done with in any case. */
void report_page(struct page *page, const json_t *json, const char *sha256);

#endif
