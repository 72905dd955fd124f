/* Which operations stay inside the HSM and which do not: plainly, since the word HSM alone suggests more than is so. */
#include <string.h>

#include "report.h"

static const struct type {
    const char *type, *place, *kek;
} types[] = {
    {"pkcs11", "in the token",
     "The KEK never leaves the token, as far as its attributes and the trials below say."},
    {"transit", "in OpenBao or Vault",
     "The service holds the KEK in its own memory and storage. Whether an HSM protects it there "
     "(seal, managed keys) this report cannot tell."},
    {"gcpkms", "in Google Cloud KMS",
     "The service holds the KEK; the configuration names the protection level that is required."},
};

static const struct operation {
    const char *operation;
    bool inside;
    const char *where; /* NULL: where the KEK is */
    const char *note;
} operations[] = {
    {"A KEK is generated", true, NULL,
     "Unless the configuration names a key that somebody else made: see its attributes."},
    {"A data key is wrapped by the KEK", true, NULL,
     "The data key goes there in clear, from kekd through its worker."},
    {"A data key is unwrapped by the KEK", true, NULL,
     "The data key comes back in clear, through the worker to kekd."},
    {"A data key is generated", false, "in kekd's memory", "By OpenSSL's random numbers."},
    {"What the API server hands over is encrypted and decrypted", false, "in kekd's memory",
     "By the data key, with AES-256-CBC and HMAC-SHA-512 of OpenSSL. Data keys are used outside "
     "the HSM."},
    {"Data keys are kept for the next calls", false, "in kekd's memory",
     "Locked and never written to disk, for as long as the configuration says. Meanwhile they "
     "open what they sealed without the HSM."},
    {"Objects are encrypted and decrypted", false, "in the API server's memory",
     "By the API server's own keys, which are what it hands over; it keeps them in clear."},
    {"The PIN or credential is read", false, "in the worker's memory",
     "From its file, to log in. kekd itself never has it."},
    {"This report is signed", false, "in kekctl's memory",
     "By a key from a file, where --key names one; an HSM can sign the file afterwards."},
};

static bool is_used(const struct kek_config *config, const char *type)
{
    for (size_t p = 0; p < config->provider_count; p++) {
        if (strcmp(config->providers[p].type, type) == 0) {
            return true;
        }
    }
    return false;
}

/* Of the operations that are where the KEK is. */
static void list_places(const struct kek_config *config, json_t *places, json_t *keks)
{
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (is_used(config, types[i].type)) {
            (void)report_say(places, "%s", types[i].place);
            (void)report_add(keks, json_pack("{s:s, s:s, s:s}", "type", types[i].type, "place",
                                             types[i].place, "says", types[i].kek));
        }
    }
}

json_t *report_boundary(struct report *report)
{
    json_t *list = json_array(), *places = json_array(), *keks = json_array();
    list_places(report->config, places, keks);
    for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++) {
        const struct operation *operation = &operations[i];
        json_t *where =
            operation->where == NULL ? json_incref(places) : json_pack("[s]", operation->where);
        (void)report_add(list, json_pack("{s:s, s:b, s:o, s:s}", "operation", operation->operation,
                                         "inside", operation->inside, "where", where, "note",
                                         operation->note));
    }
    bool whole = json_array_size(list) == sizeof operations / sizeof operations[0];
    json_decref(places);
    json_t *content = json_pack("{s:o, s:o}", "operations", list, "keks", keks);
    if (!whole) {
        json_decref(content);
        content = NULL;
    }
    return report_section(content, json_array(), true);
}

void report_boundary_show(struct page *page, const json_t *section)
{
    static const struct column columns[] = {{"operation", "Operation"},
                                            {"inside", "By the HSM or service"},
                                            {"where", "Where"},
                                            {"note", "Note"}};
    static const struct column keks[] = {
        {"type", "Provider's type"}, {"place", "The KEK is"}, {"says", "Which means"}};
    page_table(page, json_object_get(section, "operations"), columns,
               sizeof columns / sizeof columns[0], "None.");
    page_table(page, json_object_get(section, "keks"), keks, sizeof keks / sizeof keks[0], "None.");
}
