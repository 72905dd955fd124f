/* kekd-pkcs11: the worker that holds one PKCS#11 module and its token's sessions. */
#include "p11.h"

static const struct kek_provider_ops ops = {
    .type = "pkcs11",
    .open = kek_p11_open,
    .login = kek_p11_login_and_prove,
    .session_open = kek_p11_session_open,
    .list = kek_p11_list,
    .wrap = kek_p11_wrap,
    .unwrap = kek_p11_unwrap,
    .mac = kek_p11_mac,
    .make_audit_key = kek_p11_make_audit_key,
    .generate = kek_p11_generate,
    .set_state = kek_p11_set_state,
    .destroy = kek_p11_destroy,
    .probe = kek_p11_probe,
    .describe = kek_p11_describe,
    .try_key = kek_p11_try_key,
};

int main(int argc, char **argv)
{
    return kek_provider_main(argc, argv, &ops);
}
