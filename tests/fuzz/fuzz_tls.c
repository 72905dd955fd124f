/* What comes to the status listener's port before anybody is known. */
#include "fuzz.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/ops/tls.h"
#include "tests/unit/certificate.h"

static char *allow[] = {(char *)"fuzz", NULL};

static struct tls *make(void)
{
    char folder[] = "/tmp/kek-fuzz-XXXXXX", cert_path[64], key_path[64];
    X509 *cert;
    EVP_PKEY *key;
    FUZZ_CHECK(mkdtemp(folder) != NULL);
    snprintf(cert_path, sizeof cert_path, "%s/cert", folder);
    snprintf(key_path, sizeof key_path, "%s/key", folder);
    certificate_make(cert_path, key_path, "fuzz", 4, &cert, &key);
    FUZZ_CHECK(chmod(key_path, 0600) == 0);
    struct tls *tls = tls_new(
        &(struct tls_settings){.cert = cert_path, .key = key_path, .ca = cert_path, .allow = allow},
        NULL);
    FUZZ_CHECK(tls != NULL);
    X509_free(cert);
    EVP_PKEY_free(key);
    FUZZ_CHECK(unlink(cert_path) == 0 && unlink(key_path) == 0 && rmdir(folder) == 0);
    return tls;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tls *tls;
    char plain[4096];
    size_t len = 0;
    if (tls == NULL) {
        tls = make();
    }
    struct tls_session *session = tls_session_new(tls);
    FUZZ_CHECK(session != NULL);
    size_t first = size / 2;
    enum tls_state before = tls_take(session, data, first, plain, sizeof plain, &len);
    FUZZ_CHECK(len == 0);
    enum tls_state state = tls_take(session, data + first, size - first, plain, sizeof plain, &len);
    /* Nobody guesses a certificate. */
    FUZZ_CHECK(state != TLS_OPEN && state != TLS_ENDED && len == 0 && !tls_allowed(session));
    FUZZ_CHECK(before == TLS_SHAKING || before == state);
    FUZZ_CHECK(!tls_say(session, kek_bytes_of("head"), kek_bytes_of("body")));
    /* A flight of this node's, and one alert. */
    FUZZ_CHECK(tls_output(session).len < 8192);
    tls_session_free(session);
    return 0;
}
