/* What went well at a second try: told with the reply to the request that it was for. */
#include "kek/provider.h"
#include "serve.h"

/* Of the request that this thread is at. */
static _Thread_local uint32_t calls;
static _Thread_local struct kek_why last;

void kek_provider_again(const struct kek_why *first)
{
    calls++;
    last = *first;
}

void kek_serve_add_again(struct kek_buf *reply)
{
    Kek__Provider__Failed failed = KEK__PROVIDER__FAILED__INIT;
    Kek__Provider__Reply message = KEK__PROVIDER__REPLY__INIT;
    if (calls == 0) {
        return;
    }
    failed.native = last.code;
    failed.native_is_errno = last.native == KEK_NATIVE_ERRNO;
    failed.native_is_http = last.native == KEK_NATIVE_HTTP;
    failed.text = last.text;
    message.again = calls;
    message.again_last = &failed;
    (void)!kek_serve_message_reply(reply, &message);
    calls = 0;
}
