/* A listener's files, read into what OpenSSL makes sessions from. */
#ifndef KEK_OPS_TLS_FILES_H
#define KEK_OPS_TLS_FILES_H

#include <openssl/ssl.h>

#include "tls.h"

/* Each: KEK_OK, or why names the key of the configuration, the file, and what to do. */
enum kek_rc tls_files_load(SSL_CTX *context, const struct tls_settings *settings,
                           struct kek_why *why) KEK_MUST_CHECK;
/* That the certificate which was loaded leads to the CA that was, is for servers; not that it is
 * valid now. */
enum kek_rc tls_files_check(SSL_CTX *context, const struct tls_settings *settings,
                            struct kek_why *why) KEK_MUST_CHECK;
/* That too. */
enum kek_rc tls_files_check_now(SSL_CTX *context, const struct tls_settings *settings,
                                struct kek_why *why) KEK_MUST_CHECK;

/* What OpenSSL said last, in words; its queue is empty after that. Static. */
const char *tls_files_reason(void);

#endif
