/* Words: what a provider holds of a version; and a verdict, a remark or an obstacle, what is so and what is to be done. */
#include "keyring/ring.h"

#include <stdio.h>

#include "kek/text.h"

const char *kek_keyring_key_name(enum kek_keyring_key key)
{
    static const char *const names[] = {
        [KEK_KEYRING_KEY_UNSEEN] = "unseen",
        [KEK_KEYRING_KEY_ABSENT] = "absent",
        [KEK_KEYRING_KEY_GONE] = "gone",
        [KEK_KEYRING_KEY_UNFIT] = "unfit",
        [KEK_KEYRING_KEY_FOREIGN] = "foreign",
        [KEK_KEYRING_KEY_SUSPENDED] = "suspended",
        [KEK_KEYRING_KEY_COMPROMISED] = "compromised",
        [KEK_KEYRING_KEY_DEACTIVATED] = "deactivated",
        [KEK_KEYRING_KEY_PRE_ACTIVE] = "pre-active",
        [KEK_KEYRING_KEY_ACTIVE] = "active",
    };
    return names[key];
}

struct ring_todo ring_todo(const struct kek_keyring *ring, const char *before, const char *command,
                           const char *after)
{
    struct ring_todo todo;
    snprintf(todo.text, sizeof todo.text, "%skekctl %s%s", before,
             kek_command(ring->settings.config->root, command).text, after);
    return todo;
}

void verdict_say(struct kek_keyring_verdict *verdict, const char *todo, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(verdict->what, sizeof verdict->what, format, args);
    va_end(args);
    snprintf(verdict->todo, sizeof verdict->todo, "%s", todo);
}
