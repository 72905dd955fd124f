/*
 * How the columns of a table share a terminal.  Those that are wider than their share have their texts broken
 * between words; within words only where the longest words of all columns side by side are wider than the
 * terminal.  A character counts as one column.  Pure.
 */
#ifndef KEKCTL_FIT_H
#define KEKCTL_FIT_H

#include <stddef.h>

struct fit_column {
    size_t whole;   /* its longest text */
    size_t longest; /* its longest word */
    size_t width;   /* by fit_share() */
};

/* Takes the text into account. */
void fit_measure(struct fit_column *column, const char *text);

/* Sets the width of each, with one blank between two of them. `terminal`: 0 if lines have no limit. */
void fit_share(struct fit_column *columns, size_t count, size_t terminal);

/* The text in lines of at most `width`, at least 1; a line break in it counts as a blank. The caller's to free; NULL:
 * no memory. */
char *fit_break(const char *text, size_t width);

#endif
