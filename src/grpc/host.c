#include "call.h"

enum kek_rc kek_grpc_host_init(struct kek_grpc_host *host, const struct kek_grpc_settings *settings,
                               struct kek_why *why)
{
    *host = (struct kek_grpc_host){.settings = *settings};
    if (nghttp2_session_callbacks_new(&host->callbacks) != 0 ||
        nghttp2_option_new(&host->options) != 0) {
        kek_grpc_host_done(host);
        return kek_fail(why, KEK_NO_MEMORY, "no memory for a gRPC server");
    }
    kek_grpc_input_register(host->callbacks);
    kek_grpc_output_register(host->callbacks);
    nghttp2_option_set_no_http_messaging(host->options, 1);
    nghttp2_option_set_no_auto_window_update(host->options, 1);
    nghttp2_option_set_no_closed_streams(host->options, 1);
    nghttp2_option_set_max_outbound_ack(host->options, 1000);
    nghttp2_option_set_max_continuations(host->options, 8);
    nghttp2_option_set_stream_reset_rate_limit(host->options, KEK_GRPC_RESETS_BURST,
                                               KEK_GRPC_RESETS_RATE);
    return KEK_OK;
}

void kek_grpc_host_done(struct kek_grpc_host *host)
{
    kek_grpc_pool_free(host);
    nghttp2_session_callbacks_del(host->callbacks);
    nghttp2_option_del(host->options);
    host->callbacks = NULL;
    host->options = NULL;
}
