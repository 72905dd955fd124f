/* kekd-gcpkms: the worker that asks Google Cloud KMS. */
#include "gcp.h"

static const struct kek_provider_ops ops = {
    .type = "gcpkms",
    .arena = 2 * 1024 * 1024, /* an access token has up to 12 KiB, and each session a copy */
    .open = kek_gcp_open,
    .login = kek_gcp_login,
    .session_open = kek_gcp_session_open,
    .list = kek_gcp_list,
    .wrap = kek_gcp_wrap,
    .unwrap = kek_gcp_unwrap,
    .generate = kek_gcp_generate,
    .set_state = kek_gcp_set_state,
    .destroy = kek_gcp_destroy,
    .probe = kek_gcp_probe,
    .describe = kek_gcp_describe,
    .attest = kek_gcp_attest,
};

int main(int argc, char **argv)
{
    return kek_provider_main(argc, argv, &ops);
}
