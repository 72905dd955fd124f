/* What is on record of logins in a rig's folder. */
#ifndef UNIT_POOL_RECORD_H
#define UNIT_POOL_RECORD_H

#include "pool_rig.h"

#include <stdio.h>
#include <string.h>

#include "kek/durable.h"

#define RECORD_NAME 64
#define RECORD_TEXT 4096

/* Where refused PINs of a token stand, in the rig's folder. */
static inline void record_name(const char *token, char record[static RECORD_NAME])
{
    char slot[KEK_LOGIN_SLOT_TEXT];
    ck_assert_int_eq(kek_login_slot(token, slot, NULL), KEK_OK);
    snprintf(record, RECORD_NAME, "state/pin-refused-%s", slot);
}

/* The record as text; empty if there is none. */
static inline void read_record(struct rig *rig, const char *record, char text[static RECORD_TEXT])
{
    char path[200];
    struct kek_buf content;
    kek_buf_init(&content, RECORD_TEXT);
    snprintf(path, sizeof path, "%s/%s", rig->folder, record);
    enum kek_rc rc = kek_durable_read(path, RECORD_TEXT - 1, &content, NULL);
    ck_assert(rc == KEK_OK || rc == KEK_NOT_FOUND);
    if (content.len > 0) {
        memcpy(text, content.data, content.len);
    }
    text[content.len] = '\0';
    kek_buf_done(&content);
}

static inline bool record_says(struct rig *rig, const char *record, const char *what)
{
    char text[RECORD_TEXT];
    read_record(rig, record, text);
    return strstr(text, what) != NULL;
}

static inline bool is_refused_on_record(struct rig *rig, const char *record)
{
    return record_says(rig, record, "\"refused\"");
}

#define ENTRY(provider, role, inode, outcome)                                                   \
    "{\"provider\": \"" provider "\", \"role\": \"" role                                        \
    "\", \"token\": \"0123456789abcdef\", \"way\": \"fedcba9876543210\", \"pin_inode\": " inode \
    ", \"pin_mtime_ns\": -5, \"pin_size\": 4, \"outcome\": \"" outcome                          \
    "\", \"tries\": 1, \"code\": 160, \"time_ms\": 1}"
#define RECORD_OF(entries) "{\"format\": 1, \"logins\": [" entries "]}\n"

#endif
