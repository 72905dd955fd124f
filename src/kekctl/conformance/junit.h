/*
 * A run's result as JUnit's XML, as Jenkins and GitLab read it: one suite, a test for each case.
 * What a token does not support counts as skipped there, which knows no third way, and says so
 * first.
 */
#ifndef KEKCTL_CONFORMANCE_JUNIT_H
#define KEKCTL_CONFORMANCE_JUNIT_H

#include <jansson.h>

/* Of what suite_json() made. To be freed. NULL: no memory. */
char *junit_text(const json_t *run);

#endif
