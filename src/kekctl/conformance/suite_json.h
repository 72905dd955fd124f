/*
 * A run's result as JSON, from which all else that is shown of it is made.
 */
#ifndef KEKCTL_CONFORMANCE_SUITE_JSON_H
#define KEKCTL_CONFORMANCE_SUITE_JSON_H

#include <jansson.h>

#include "suite.h"

#define CONFORMANCE_FORMAT 1

/* docs/kekctl.1 describes it. NULL: no memory. */
json_t *suite_json(const struct suite *suite);

/* The cases alone, with what each is about; nothing was tried. NULL: no memory. */
json_t *suite_json_cases(void);

#endif
