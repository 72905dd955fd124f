/*
 * From a document to a struct by tables.
 *
 * A struct schema says what a mapping may hold: for each key its name, where its value goes in the
 * object, how it is read and what it is without being given.  The engine (load.c) walks the mapping in
 * the order of the file and stops at the first thing that is wrong; values.c and lists.c read values;
 * schema.c, pkcs11.c, transit.c and gcpkms.c have the tables; file.c reads a file with the root's.
 */
#ifndef CONFIG_LOAD_H
#define CONFIG_LOAD_H

#include "kek/config.h"
#include "kek/doc.h"

struct load {
    const char *file;
    char path[160]; /* of the key being read: "providers[0].timeout" */
    struct kek_why *why;
};

struct field;
typedef enum kek_rc load_fn(struct load *load, const struct kek_doc_node *node,
                            const struct field *field, void *object);

struct field {
    const char *name;
    load_fn *read;
    size_t offset, size; /* of the member of the object */
    uint64_t min, max;   /* of a number (and in which unit, its reader says), of a count of items */
    bool required;
    const char *preset; /* the value when it is not given, as it would stand in the file */
    const void *with;   /* what else its reader needs: a struct schema, list, choice, text_rule */
};

struct schema {
    const struct field *fields;
    size_t count; /* with those of one variant at most 64 */
    /* What concerns several keys at once; NULL: nothing. node is NULL if the mapping is absent. */
    enum kek_rc (*check)(struct load *load, const struct kek_doc_node *node, void *object);
    /* Further keys, by the value of the key `type`; NULL: none. */
    const struct variant *variants;
    size_t variant_count;
};

/* Its keys are read into the same object; its check() is asked after that of the schema. */
struct variant {
    const char *type;
    const struct schema *schema;
};

/* A list of mappings: the member is a pointer to the items, *count how many there are. */
struct list {
    const struct schema *schema;
    size_t item_size;
    size_t count_offset; /* of a size_t in the same object as the list */
};

struct choice {
    const char *const *names; /* by value */
    size_t count;
};

/* True if the text may stand; may be asked for any text within the length. */
struct text_rule {
    bool (*good)(const char *text);
    const char *expected; /* "expected ..." */
};
bool load_any_text(const char *text);
extern const struct text_rule path_rule, socket_rule, context_rule; /* of 4000, 107 and 255 bytes */

/* rules.c: the names of keyrings, of providers and roots of trust, and of accounts; a service's URL; and false or true,
 * whose values are 0 and 1. */
extern const struct text_rule keyring_rule, provider_rule, account_rule, service_rule;
extern const struct choice boolean_choice;

/* Of a provider whose versions have no label: `versions` gives none one. `service` is for the message. */
enum kek_rc numbers_alone(struct load *load, const struct kek_doc_node *node,
                          const struct kek_config_provider *provider, const char *service);

/* The root's table, the further keys of a provider of each type, and the section `status`. */
extern const struct schema config_schema, pkcs11_schema, transit_schema, gcpkms_schema,
    status_schema;

/* status.name where it is not given: the host name. */
enum kek_rc status_default_name(struct load *load, struct kek_config *config);
void status_free(struct kek_config *config);

/* `audit` says where the log is.  node: NULL where it is not there. */
enum kek_rc audit_check(struct load *load, const struct kek_doc_node *node, void *object);

/* The entries of `etcd`; what they must be to each other, and the context where one has none. */
extern const struct list etcd_list;
enum kek_rc etcd_check(struct load *load, const struct kek_doc_node *root,
                       struct kek_config *config);
void etcd_free(struct kek_config *config);

/* Reads a mapping into an object; node NULL gives every key its preset. */
enum kek_rc load_mapping(struct load *load, const struct kek_doc_node *node,
                         const struct schema *schema, void *object);

/* The member of this name, NULL if there is none. */
const struct kek_doc_node *load_find(const struct kek_doc_node *mapping, const char *name);
/* The item of this index, which the list has. */
const struct kek_doc_node *load_item(const struct kek_doc_node *list, size_t index);

/* "FILE:LINE:COLUMN: PATH: expected <...>, found <what the node is>". */
enum kek_rc load_expected(struct load *load, const struct kek_doc_node *node, const char *format,
                          ...) KEK_PRINTF(3, 4);
/* The same for a value that no message may show. */
enum kek_rc load_expected_hidden(struct load *load, const struct kek_doc_node *node,
                                 const char *format, ...) KEK_PRINTF(3, 4);
/* "FILE:LINE:COLUMN: PATH: <...>". */
enum kek_rc load_refuse(struct load *load, const struct kek_doc_node *node, const char *format, ...)
    KEK_PRINTF(3, 4);
enum kek_rc load_no_memory(struct load *load);
enum kek_rc load_no_duplicates(struct load *load, const struct kek_doc_node *mapping);

/* The path goes one step down and back up. */
size_t load_enter(struct load *load, const char *key);
size_t load_enter_item(struct load *load, size_t index);
void load_leave(struct load *load, size_t mark);

/* Readers. Numbers, durations (milliseconds) and sizes (bytes) respect min and max and go into an
 * unsigned member of any size; a text has min to max bytes. Of a host and port, the host goes into the member
 * and the port into the uint16_t at the offset that `with` points to. */
load_fn load_number, load_duration, load_size, load_choice, load_text, load_section;
load_fn load_items, load_texts, load_uids, load_environment, load_listen, load_host_port;

/* The same into the provider's settings, as the file has it. */
load_fn load_setting_choice, load_setting_text;

/* Adds a setting to a provider; `value` is a reader's that has checked it, and copied here. */
enum kek_rc load_add_setting(struct load *load, struct kek_config_provider *provider,
                             const char *key, const char *value);

/* A scalar's text if the rule allows it. */
enum kek_rc load_scalar_text(struct load *load, const struct kek_doc_node *node,
                             const struct field *field, char **text);

#endif
