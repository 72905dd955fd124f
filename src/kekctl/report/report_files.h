/*
 * The files of a report in a folder of their own: report.json, report.html and, where it is signed, report.json.sig.
 *
 * Each is written beside its name and synced, and all get their names at the end; none that is there already is
 * ever written over.  Mode 0640.  Whatever fails, no file of the report is left.  Blocks.
 */
#ifndef KEKCTL_REPORT_REPORT_FILES_H
#define KEKCTL_REPORT_REPORT_FILES_H

#include "kek/bytes.h"

#define REPORT_JSON "report.json"
#define REPORT_SIGNATURE "report.json.sig"
#define REPORT_HTML "report.html"
#define REPORT_FILES 3

/* Is there a folder, or may one be made, without any of these files in it?  Makes it.  KEK_PRECONDITION: one is there. */
enum kek_rc report_files_prepare(const char *folder, struct kek_why *why) KEK_MUST_CHECK;

/* signature: empty where there is none. */
enum kek_rc report_files_write(const char *folder, struct kek_bytes json,
                               struct kek_bytes signature, struct kek_bytes html,
                               struct kek_why *why) KEK_MUST_CHECK;

#endif
