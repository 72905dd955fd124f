/* kekd-transit: the worker that asks the Transit engine of OpenBao or HashiCorp Vault. */
#include "transit.h"

static const struct kek_provider_ops ops = {
    .type = "transit",
    .arena = 512 * 1024,
    .open = transit_open,
    .login = transit_login,
    .session_open = transit_session_open,
    .list = transit_list,
    .wrap = transit_wrap,
    .unwrap = transit_unwrap,
    .generate = transit_generate,
    .set_state = transit_set_state,
    .destroy = transit_destroy,
    .probe = transit_probe,
    .describe = transit_describe,
};

int main(int argc, char **argv)
{
    return kek_provider_main(argc, argv, &ops);
}
