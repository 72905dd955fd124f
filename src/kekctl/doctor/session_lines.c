/* doctor: the sessions that a cluster may open on each token, whichever providers, of whichever roots, are that token. */
#include <inttypes.h>
#include <stdio.h>

#include "doctor.h"
#include "kek/text.h"
#include "limits.h"

#define SUBJECT 64

static struct limits_sessions sessions_of(const struct doctor *doctor, size_t provider)
{
    const struct kek_config_provider *config = &doctor->config->providers[provider];
    return (struct limits_sessions){
        .nodes = doctor->nodes, .processes = config->processes, .sessions = config->sessions};
}

/* What other providers open on the same token. */
static uint64_t beside(const struct doctor *doctor, size_t provider)
{
    uint64_t sum = 0;
    for (size_t p = 0; p < doctor->config->provider_count; p++) {
        if (p != provider && doctor_one_token(doctor, provider, p)) {
            const struct limits_sessions of = sessions_of(doctor, p);
            sum += limits_sessions(&of);
        }
    }
    return sum;
}

/* room: sessions that other providers leave it. */
static void say_few(struct doctor *doctor, size_t provider, uint64_t room, uint64_t needed)
{
    const struct kek_config_provider *config = &doctor->config->providers[provider];
    struct limits_sessions of = sessions_of(doctor, provider);
    char subject[SUBJECT], todo[LINES_TODO];
    snprintf(subject, sizeof subject, "sessions of %s", config->name);
    uint64_t fit = limits_sessions_fit(&of, room);
    of.processes = 1;
    uint64_t fit_one = limits_sessions_fit(&of, room);
    of.sessions = 1;
    if (fit > 0) {
        lines_todo(todo, "in %s, provider %s: sessions: %" PRIu64 ", on each node",
                   doctor->config->path, config->name, fit);
    } else if (fit_one > 0) {
        lines_todo(todo, "in %s, provider %s: processes: 1 and sessions: %" PRIu64 ", on each node",
                   doctor->config->path, config->name, fit_one);
    } else {
        lines_todo(todo,
                   "have the token allow %" PRIu64
                   " sessions, with processes: 1 and sessions: 1 of "
                   "provider %s in %s, on each node",
                   limits_sessions(&of) + (doctor->tokens[provider].max_sessions - room),
                   config->name, doctor->config->path);
    }
    lines_add(&doctor->lines, DOCTOR_FAIL, subject, todo,
              "the token allows %" PRIu64
              ", and %s of %u processes with %u sessions and one kekctl "
              "may open %" PRIu64,
              doctor->tokens[provider].max_sessions, kek_counted(doctor->nodes, "node").text,
              config->processes, config->sessions, needed);
}

static void judge(struct doctor *doctor, size_t provider)
{
    const struct limits_sessions of = sessions_of(doctor, provider);
    uint64_t allowed = doctor->tokens[provider].max_sessions, others = beside(doctor, provider);
    uint64_t needed = limits_sessions(&of) + others;
    char subject[SUBJECT];
    if (allowed != 0 && allowed < needed) {
        say_few(doctor, provider, allowed > others ? allowed - others : 0, needed);
        return;
    }
    snprintf(subject, sizeof subject, "sessions of %s", doctor->config->providers[provider].name);
    lines_add(&doctor->lines, DOCTOR_OK, subject, NULL, "up to %" PRIu64 " by %s, and the token %s",
              needed, kek_counted(doctor->nodes, "node").text,
              allowed == 0 ? "tells no limit" : "allows them");
}

void doctor_sessions(struct doctor *doctor)
{
    for (size_t p = 0; p < doctor->config->provider_count; p++) {
        if (doctor->tokens[p].answered) {
            doctor_about(doctor, &doctor->config->providers[p]);
            judge(doctor, p);
        }
    }
    doctor_about(doctor, NULL);
}
