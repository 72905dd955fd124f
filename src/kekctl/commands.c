/* The table of commands. */
#include "command.h"

#include "options.h"

#define OPTIONS_NODES (CTL_OPTION(OPTION_NODE) | CTL_OPTION(OPTION_TIMEOUT))
#define OPTIONS_CHANGE (CTL_OPTION(OPTION_DRY_RUN) | OPTIONS_NODES)
#define OPTIONS_ROTATE                                                                        \
    (OPTIONS_CHANGE | CTL_OPTION(OPTION_PROVIDER) | CTL_OPTION(OPTION_BACKUP) |               \
     CTL_OPTION(OPTION_UNTIL) | CTL_OPTION(OPTION_WITHOUT) | CTL_OPTION(OPTION_SINGLE_NODE) | \
     CTL_OPTION(OPTION_AGAIN))
#define OPTIONS_DESTROY                                                                     \
    (OPTIONS_CHANGE | CTL_OPTION(OPTION_SINGLE_NODE) | CTL_OPTION(OPTION_BACKUPS_CHECKED) | \
     CTL_OPTION(OPTION_API_SERVERS_RESTARTED))
#define OPTIONS_KUBE_CONFIG                                                             \
    (CTL_OPTION(OPTION_PHASE) | CTL_OPTION(OPTION_FROM) | CTL_OPTION(OPTION_RESOURCE) | \
     CTL_OPTION(OPTION_NAME) | CTL_OPTION(OPTION_CHECK) | CTL_OPTION(OPTION_ETCD) |     \
     CTL_OPTION(OPTION_SINGLE_NODE) | OPTIONS_NODES)
#define OPTIONS_KMS \
    (CTL_OPTION(OPTION_SOCKET) | CTL_OPTION(OPTION_API) | CTL_OPTION(OPTION_TIMEOUT))

#define OPTIONS_REENCRYPT                                                                 \
    (OPTIONS_NODES | CTL_OPTION(OPTION_WITHOUT) | CTL_OPTION(OPTION_SINGLE_NODE) |        \
     CTL_OPTION(OPTION_KUBECONFIG) | CTL_OPTION(OPTION_KUBE_CONTEXT) |                    \
     CTL_OPTION(OPTION_RESOURCE) | CTL_OPTION(OPTION_VIA) | CTL_OPTION(OPTION_PARALLEL) | \
     CTL_OPTION(OPTION_RATE) | CTL_OPTION(OPTION_DECRYPT) | CTL_OPTION(OPTION_FROM))
#define OPTIONS_ETCD                                                                      \
    (CTL_OPTION(OPTION_SNAPSHOT) | CTL_OPTION(OPTION_ENDPOINTS) | CTL_OPTION(OPTION_CA) | \
     CTL_OPTION(OPTION_CERT) | CTL_OPTION(OPTION_KEY) | CTL_OPTION(OPTION_USER) |         \
     CTL_OPTION(OPTION_PASSWORD_FILE) | CTL_OPTION(OPTION_PREFIX))
#define OPTIONS_INVENTORY                                                   \
    (CTL_OPTION(OPTION_ETCD) | OPTIONS_ETCD | CTL_OPTION(OPTION_RESOURCE) | \
     CTL_OPTION(OPTION_ENCRYPTION_CONFIG) | CTL_OPTION(OPTION_VERIFY) | OPTIONS_NODES)
#define OPTIONS_DOCTOR                                                               \
    (CTL_OPTION(OPTION_ENCRYPTION_CONFIG) | CTL_OPTION(OPTION_API_SERVER) |          \
     CTL_OPTION(OPTION_UNIT) | CTL_OPTION(OPTION_NAME) | CTL_OPTION(OPTION_BACKUP) | \
     OPTIONS_NODES)

/* How long --timeout is, where the table of options does not say it. */
#define WAITS(text)             \
    {                           \
        {OPTION_TIMEOUT, text}, \
    }
#define WAITS_KMS WAITS("how long connecting, and then each call, may take; 3s by default")

/* In the order in which kekctl(1) has them. */
static const struct command commands[] = {
    {"config check", 0, ctl_config_check, "is the configuration, or FILE, good?", FILE_WORD,
     .roots = CTL_ROOTS_ALL},
    {"config example", 0, ctl_config_example, "a configuration to start from",
     .roots = CTL_ROOTS_NONE},
    {"doctor",
     OPTIONS_DOCTOR,
     ctl_doctor,
     "what would keep the cluster from starting",
     NULL,
     {{OPTION_TIMEOUT, "how long all nodes together may take to answer; 2s by default"},
      {OPTION_BACKUP, "put on record that there is a backup of the newest version"},
      {OPTION_ENCRYPTION_CONFIG,
       "the API server's EncryptionConfiguration; by default the one that its command line names"}},
     .roots = CTL_ROOTS_ALL},
    {"key list", 0, ctl_key_list, "the versions of the keyring on every provider",
     .roots = CTL_ROOTS_ALL},
    {"key generate", CTL_OPTION(OPTION_PROVIDER) | CTL_OPTION(OPTION_NEW_KEYRING), ctl_key_generate,
     "makes the keyring's next version"},
    {"key adopt", CTL_OPTION(OPTION_NEW_KEYRING), ctl_key_adopt,
     "could a key that kekd did not make be used?", "LABEL|ID"},
    {"key attest",
     CTL_OPTION(OPTION_PROVIDER) | CTL_OPTION(OPTION_INTO),
     ctl_key_attest,
     "does its HSM state, verifiably, what a key is?",
     "VERSION",
     {{OPTION_PROVIDER, "whose key; that of every provider by default"}}},
    {"key promote", CTL_OPTION(OPTION_BACKUP) | OPTIONS_CHANGE, ctl_key_promote,
     "lets a version seal", "VERSION"},
    {"key retire", CTL_OPTION(OPTION_COMPROMISED) | OPTIONS_CHANGE, ctl_key_retire,
     "lets it open only", "VERSION"},
    {"key suspend", OPTIONS_CHANGE, ctl_key_suspend, "lets it do nothing for a while", "VERSION"},
    {"key resume", OPTIONS_CHANGE, ctl_key_resume, "lets it open again", "VERSION"},
    {"key destroy", OPTIONS_DESTROY, ctl_key_destroy,
     "ends a version that nothing needs, after a quarantine", "VERSION"},
    {"pin retry",
     CTL_OPTION(OPTION_PROVIDER),
     ctl_pin_retry,
     "lets a refused PIN be tried once more",
     NULL,
     {{OPTION_PROVIDER, "whose refused PIN; of every provider by default"}},
     .roots = CTL_ROOTS_ALL},
    {"probe",
     CTL_OPTION(OPTION_PROVIDER),
     ctl_probe,
     "what the tokens can really do",
     NULL,
     {{OPTION_PROVIDER, "whose token is tried; that of every provider by default"}},
     .roots = CTL_ROOTS_ALL},
    {"conformance",
     CTL_OPTION(OPTION_PROVIDER) | CTL_OPTION(OPTION_EXISTING_KEY) | CTL_OPTION(OPTION_DRY_RUN),
     ctl_conformance,
     "is a token fit for kekd? with throw-away keys",
     NULL,
     {{OPTION_PROVIDER, "whose token is tried; needed where there are several"},
      {OPTION_OUTPUT, "how results are printed: as a table by default, as JSON or JUnit's XML"},
      {OPTION_DRY_RUN, "only list the cases"}},
     .roots = CTL_ROOTS_ALL,
     .junit = true},
    {"kube config",
     OPTIONS_KUBE_CONFIG,
     ctl_kube_config,
     "the API server's EncryptionConfiguration, next phase",
     NULL,
     {{OPTION_TIMEOUT, "how long the API server is told to wait for an answer; by default what the "
                       "entry says, 3s in a new one"},
      {OPTION_RESOURCE, "which resource, such as things.group.example.com; once for each; by "
                        "default the list that has kekd's entry, else the one of Secrets"},
      {OPTION_NODE, "with --check, a node to ask: HOST:PORT, ssh:HOST or self; once for each; by "
                    "default those of status.nodes, else this node alone"}},
     .roots = CTL_ROOTS_JOINED},
    {"node status", OPTIONS_NODES, ctl_node_status, "which key each node of the cluster announces",
     .roots = CTL_ROOTS_ALL},
    {"key rotate", OPTIONS_ROTATE, ctl_key_rotate, "the next version, and the older ones retired",
     NULL,
     WAITS("how long it waits in all before it stops (run again, it goes on); 1h by default, "
           "and at most")},
    {"inventory", OPTIONS_INVENTORY, ctl_inventory, "what lies in etcd, and under which key", NULL,
     WAITS("how long the nodes may take, where they are asked for the versions since no provider "
           "answers; 10s by default"),
     .roots = CTL_ROOTS_JOINED},
    {"reencrypt", OPTIONS_REENCRYPT, ctl_reencrypt,
     "has every object written anew under the newest version", NULL,
     WAITS("how long it goes on without any progress; 5m by default, 2m with --via "
           "storage-version-migration"),
     .roots = CTL_ROOTS_ALL},
    {"audit generate", CTL_OPTION(OPTION_PROVIDER), ctl_audit_generate,
     "makes the key that MACs the audit log"},
    {"audit verify",
     0,
     ctl_audit_verify,
     "are the lines of the audit log as they were written?",
     FILES_WORD,
     {{OPTION_CONFIG, "the configuration that says where the record and the tokens are; without "
                      "it only the chain is checked"}},
     .roots = CTL_ROOTS_ALL},
    {"report",
     CTL_OPTION(OPTION_OUT) | CTL_OPTION(OPTION_KEY),
     ctl_report,
     "evidence for an auditor, as JSON and as a page",
     NULL,
     {{OPTION_KEY, "the private key that signs it, in PEM; by default it is not signed"}},
     .roots = CTL_ROOTS_ALL},
    {"report verify",
     CTL_OPTION(OPTION_KEY) | CTL_OPTION(OPTION_PAGE),
     ctl_report_verify,
     "is a report what this key has signed?",
     "REPORT SIGNATURE",
     {{OPTION_KEY, "the public key of who signed, in PEM; needed"}},
     .roots = CTL_ROOTS_NONE},
    {"kms status", OPTIONS_KMS, ctl_kms_status, "what the API server is told about the plugin",
     NULL, WAITS_KMS, .roots = CTL_ROOTS_ALL},
    {"kms encrypt", OPTIONS_KMS, ctl_kms_encrypt, "standard input, encrypted", NULL, WAITS_KMS,
     .roots = CTL_ROOTS_ALL},
    {"kms decrypt", OPTIONS_KMS | CTL_OPTION(OPTION_KEY_ID), ctl_kms_decrypt,
     "standard input, decrypted", NULL, WAITS_KMS, .roots = CTL_ROOTS_ALL},
    {"completion", 0, ctl_completion, "a script by which bash or zsh completes kekctl's words",
     "SHELL", .roots = CTL_ROOTS_NONE},
    {"help", 0, ctl_help, "this text", .roots = CTL_ROOTS_NONE},
    {"version", 0, ctl_version, "kekctl's version", .roots = CTL_ROOTS_NONE},
};

_Static_assert(sizeof commands / sizeof commands[0] <= COMMANDS_MAX, "completion has room for all");

const struct command_list commands_all = {.commands = commands,
                                          .count = sizeof commands / sizeof commands[0]};
