/* doctor: the certificate of `status`, as a start of kekd reads it, and how long it is still valid. */
#include <time.h>

#include "doctor.h"
#include "kek/certificate.h"
#include "kek/clock.h"
#include "kek/text.h"
#include "secrets.h"

#define SUBJECT "status"
#define DAY_S (INT64_C(24) * 3600)
#define ENDS_S (30 * DAY_S) /* as kekd's own warning and the alert */

static void say_when(struct doctor *doctor, const struct kek_certificate *found)
{
    static const char todo[] =
        "systemctl reload kekd.service # with a new one in its place: docs/operations.md, Nodes "
        "that know of each other";
    const char *cert = doctor->config->status.cert;
    int64_t left = found->expires - (int64_t)time(NULL);
    char end[KEK_CLOCK_TEXT];
    if (!found->is_valid) {
        lines_add(&doctor->lines, DOCTOR_WARN, SUBJECT, todo,
                  "%s: kekd serves, and the other nodes do not hear it", found->why.text);
    } else if (left <= ENDS_S) {
        lines_add(&doctor->lines, DOCTOR_WARN, SUBJECT, todo,
                  "%s ends to be valid in %s: after that the other nodes do not hear kekd", cert,
                  kek_counted((uint64_t)(left / DAY_S), "day").text);
    } else {
        lines_add(&doctor->lines, DOCTOR_OK, SUBJECT, NULL,
                  "its certificate, key and CA are each other's, valid until %s",
                  kek_clock_text_seconds(found->expires * 1000, end));
    }
}

void doctor_status(struct doctor *doctor)
{
    const struct kek_config *config = doctor->config;
    struct kek_certificate found;
    struct kek_why why;
    char todo[LINES_TODO];
    if (config->status.cert == NULL) {
        return;
    }
    const struct secret_file key = {.what = "status.key: ",
                                    .path = config->status.key,
                                    .forbidden = S_IRWXO | S_IWGRP,
                                    .public = DOCTOR_FAIL};
    bool good = doctor_reaches(doctor, SUBJECT, config->status.cert, R_OK, false);
    good = secrets_judge(doctor, SUBJECT, &key, NULL) && good;
    good = doctor_reaches(doctor, SUBJECT, config->status.ca, R_OK, false) && good;
    if (!good) {
        return;
    }
    if (kek_certificate_check(config, &found, &why) != KEK_OK) {
        lines_todo(todo,
                   "in %s: status: cert, key and ca that are each other's (docs/operations.md, "
                   "Nodes that know of each other)",
                   config->path);
        lines_add(&doctor->lines, DOCTOR_FAIL, SUBJECT, todo, "%s", why.text);
        return;
    }
    say_when(doctor, &found);
}
