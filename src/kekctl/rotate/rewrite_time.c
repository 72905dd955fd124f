#include "rewrite_time.h"

#include "rotation.h"

/* Clocks that NTP keeps are nearer to each other, and a page takes its time: one moment is to be told by one number. */
#define SKEW_MS 2000

int64_t rewrite_needed_ms(const struct kek_config *config, bool is_blind)
{
    uint64_t looks =
        is_blind ? ROTATION_LOOKS : 1; /* until a kekd has seen a change, even by a cache */
    return (int64_t)(config->settle_ms + looks * config->refresh_ms) + REWRITE_API_SERVER_MS;
}

int64_t rewrite_since_ms(const struct node *node, int64_t now_ms)
{
    const struct node_status *status = &node->status;
    int64_t there =
        status->primary.announced_ms > 0 ? status->primary.announced_ms : status->since_ms;
    int64_t skew = node->skew_ms > -SKEW_MS && node->skew_ms < SKEW_MS ? 0 : node->skew_ms;
    int64_t heard = node->heard_ms > 0 ? node->heard_ms : now_ms;
    /* Its clock may have been ahead at that time. */
    return there == 0 || there - skew > heard ? heard : there - skew;
}

int64_t rewrite_after_ms(const struct node *nodes, size_t count, const bool *left_out,
                         const struct kek_id *kek_id, int64_t needed_ms, int64_t now_ms)
{
    int64_t after = 0;
    for (size_t i = 0; i < count; i++) {
        if (left_out[i] && !nodes[i].reachable) {
            continue;
        }
        if (!nodes[i].reachable || !node_announces(&nodes[i].status, kek_id)) {
            return 0;
        }
        int64_t since = rewrite_since_ms(&nodes[i], now_ms);
        after = since + needed_ms > after ? since + needed_ms : after;
    }
    return after;
}

void rewrite_time_format(int64_t ms, char text[static REWRITE_TIME_TEXT])
{
    rotation_time_format(ms + 999, text);
}
