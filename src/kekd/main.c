/* kekd: a KMS plugin for Kubernetes that keeps its KEK in an HSM. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kek/config.h"
#include "kek/descriptors.h"
#include "kek/envelope.h"
#include "kek/log.h"
#include "kek/secret.h"
#include "kekd/daemon.h"
#include "kekd/warnings.h"

enum { EXIT_GOOD = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

static const char default_config[] = "/etc/kekd/kekd.yaml";

/* What was printed is there, or a line and the code say that it is not. */
static int said(int code)
{
    errno = 0;
    if (fflush(stdout) == 0 && ferror(stdout) == 0) {
        return code;
    }
    fprintf(stderr, "%skekd: cannot write to standard output: %s\n",
            kek_log_priority(KEK_LOG_ERROR),
            errno == 0 ? "an earlier write failed" : strerror(errno));
    return EXIT_FAILED;
}

static int usage(FILE *out, int code)
{
    fprintf(out,
            "usage: kekd [--config FILE] [--check]\n"
            "\n"
            "  -c, --config FILE  the configuration (default %s)\n"
            "      --check        check the configuration and exit\n"
            "      --version      say which version this is\n"
            "  -h, --help         say this\n",
            default_config);
    return code;
}

/* What runs here, and as what: for whoever reads the log later. */
static void say_start(const struct kek_config *config)
{
    kek_log_with(KEK_LOG_INFO,
                 KEK_LOG_FIELDS(
                     kek_log_text("version", PACKAGE_VERSION), kek_log_text("config", config->path),
                     kek_log_text("config_sha256", config->digest),
                     kek_log_text("keyring", config->keyring),
                     kek_log_text("context", config->context),
                     kek_log_text("mode", config->data_key.max_uses == 1 ? "strict" : "default"),
                     kek_log_number("euid", geteuid()), kek_log_number("pid", (uint64_t)getpid())),
                 "starting");
}

static int run(const struct kek_config *config)
{
    struct kek_why why;
    bool locked = false;
    kek_log_setup("kekd", config->log_level, config->log_format);
    bool told = config->log_format == KEK_LOG_JSON ? setenv(KEK_LOG_FORMAT_VARIABLE, "json", 1) == 0
                                                   : unsetenv(KEK_LOG_FORMAT_VARIABLE) == 0;
    if (!told) {
        kek_log(KEK_LOG_ERROR, "no memory to start");
        return EXIT_FAILED;
    }
    say_start(config);
    kek_secret_harden_process();
    if (kek_secret_setup(kek_config_key_memory(config), &locked, &why) != KEK_OK ||
        kek_envelope_self_test(&why) != KEK_OK) {
        kek_log(KEK_LOG_ERROR, "%s", why.text);
        return EXIT_FAILED;
    }
    if (!locked) {
        kek_log(KEK_LOG_WARN, "key memory cannot be locked and may reach swap: raise "
                              "RLIMIT_MEMLOCK (LimitMEMLOCK=infinity)");
    }
    warnings_of_start(config);
    return kek_daemon_run(config);
}

int main(int argc, char **argv)
{
    enum { ONLY_CHECK = 256, SAY_VERSION };
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"check", no_argument, NULL, ONLY_CHECK},
        {"version", no_argument, NULL, SAY_VERSION},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    const char *path = default_config;
    bool check = false;
    int option = 0;
    kek_log_setup("kekd", KEK_LOG_INFO, KEK_LOG_TEXT);
    if (!kek_descriptors_fill()) {
        return EXIT_FAILED;
    }
    while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            path = optarg;
            break;
        case ONLY_CHECK:
            check = true;
            break;
        case SAY_VERSION:
            puts("kekd " PACKAGE_VERSION);
            return said(EXIT_GOOD);
        case 'h':
            return said(usage(stdout, EXIT_GOOD));
        default:
            return usage(stderr, EXIT_USAGE);
        }
    }
    if (optind != argc) {
        fprintf(stderr, "%skekd: unexpected argument \"%s\"\n", kek_log_priority(KEK_LOG_ERROR),
                argv[optind]);
        return usage(stderr, EXIT_USAGE);
    }
    struct kek_why why;
    KEK_AUTO(kek_config) config = kek_config_load(path, &why);
    if (config == NULL) {
        fprintf(stderr, "%skekd: %s\n", kek_log_priority(KEK_LOG_ERROR), why.text);
        return EXIT_USAGE;
    }
    if (check) {
        printf("%s: good\n", path);
        return said(EXIT_GOOD);
    }
    return run(config);
}
