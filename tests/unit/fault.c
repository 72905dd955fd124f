#include "fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE 4096 /* of a control file: text, then counters (tests/faults/README.md) */

char fault_uri[4 * PATH_MAX];
static char control_path[PATH_MAX], pending[128];

void fault_now(void)
{
    char fresh[PATH_MAX + 4], text[2 * PAGE] = "";
    snprintf(fresh, sizeof fresh, "%s.new", control_path);
    memcpy(text, pending, strlen(pending));
    worker_write(fresh, text, sizeof text, 0600);
    ck_assert_int_eq(rename(fresh, control_path), 0);
}

void fault_later(void)
{
    (void)unlink(control_path);
}

void fault_put(const struct token *token, const char *fault)
{
    const char *build = getenv("abs_top_builddir");
    ck_assert_ptr_nonnull(build);
    snprintf(fault_uri, sizeof fault_uri,
             "pkcs11:token=kek-test?module-path=%s/tests/faults/fault.so&pin-source=file:%s/pin",
             build, token->dir);
    worker_path("control", control_path);
    setenv("KEK_FAULT_CONTROL", control_path, 1);
    snprintf(pending, sizeof pending, "%s", fault);
    fault_now();
}

unsigned long fault_count(const char *name)
{
    struct {
        char name[24];
        uint64_t calls;
    } counters[64];
    unsigned long count = 0;
    FILE *file = fopen(control_path, "r");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fseek(file, PAGE, SEEK_SET), 0);
    ck_assert_uint_eq(fread(counters, sizeof counters, 1, file), 1);
    fclose(file);
    for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++) {
        bool asked = name == NULL || strncmp(counters[i].name, name, sizeof counters[i].name) == 0;
        count += asked ? counters[i].calls : 0;
    }
    return count;
}
