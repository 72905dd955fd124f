/*
 * What a command found, for people or for programs.
 *
 * A command builds JSON; with --output table the columns say what of it is shown and how it is
 * called.  On a terminal wide columns are broken into lines, so that the table is no wider (fit.h).
 * Text that came from elsewhere is made safe for a terminal by libsmartcols.
 */
#ifndef KEKCTL_OUTPUT_H
#define KEKCTL_OUTPUT_H

#include <jansson.h>

#include "kekctl.h"

struct column {
    const char *key;   /* of each object */
    const char *title; /* of the table */
};

/* An object: JSON as it is, or a line for each column. */
enum ctl_exit output_object(const struct ctl *ctl, const json_t *object,
                            const struct column *columns, size_t count);

/* An object with a list of objects: JSON as it is, or the list as a table. */
enum ctl_exit output_list(const struct ctl *ctl, const json_t *object, const char *list,
                          const struct column *columns, size_t count);

/* The same, where the last column is there to be copied: on a terminal without room for it, each of its texts stands below its
 * row, unbroken. */
enum ctl_exit output_list_to_copy(const struct ctl *ctl, const json_t *object, const char *list,
                                  const struct column *columns, size_t count);

/* For programs the object, which is handed over; for people the rows, which are borrowed. Either NULL: no memory. */
enum ctl_exit output_rows(const struct ctl *ctl, json_t *object, json_t *rows,
                          const struct column *columns, size_t count);

/* All of it on standard output, past stdio and its buffers. */
enum ctl_exit output_bytes(const struct ctl *ctl, struct kek_bytes bytes);

/* Sends what was printed on its way. CTL_FAILED after saying that it, or something before it, cannot be written. */
enum ctl_exit output_end(const struct ctl *ctl);

/* A JSON string of any bytes: where not all are UTF-8, those become '?' (kek_text_clean()). NULL: no memory. */
json_t *output_text_of(struct kek_bytes bytes);
json_t *output_text(const char *text);

#endif
