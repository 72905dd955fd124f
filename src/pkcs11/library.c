#include "library.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/stat.h>

#include "kek/descriptors.h"
#include "kek/vendor.h"

/* The start of every ELF file, of 32 bits and of 64 (gABI, ELF header). */
struct head {
    unsigned char ident[EI_NIDENT];
    uint8_t type[2], machine[2]; /* in the file's byte order */
};

static bool read_head(int fd, struct head *head)
{
    size_t len = 0;
    return kek_descriptor_read(fd, (uint8_t *)head, sizeof *head, &len) && len == sizeof *head &&
           memcmp(head->ident, ELFMAG, SELFMAG) == 0;
}

static unsigned machine_of(const struct head *head)
{
    bool big = head->ident[EI_DATA] == ELFDATA2MSB;
    return (unsigned)head->machine[big ? 0 : 1] << 8 | head->machine[big ? 1 : 0];
}

static void name_architecture(const struct head *head, char name[static 48])
{
    static const struct {
        unsigned machine;
        const char *name;
    } machines[] = {{EM_386, "x86"},       {EM_X86_64, "x86-64"}, {EM_ARM, "Arm"},
                    {EM_AARCH64, "Arm64"}, {EM_PPC64, "POWER"},   {EM_S390, "IBM Z"},
                    {EM_RISCV, "RISC-V"}};
    int bits = head->ident[EI_CLASS] == ELFCLASS32 ? 32 : 64;
    const char *order = head->ident[EI_DATA] == ELFDATA2MSB ? ", big-endian" : "";
    unsigned machine = machine_of(head);
    for (size_t i = 0; i < sizeof machines / sizeof machines[0]; i++) {
        if (machines[i].machine == machine) {
            snprintf(name, 48, "%s (%d bits%s)", machines[i].name, bits, order);
            return;
        }
    }
    snprintf(name, 48, "ELF machine %u (%d bits%s)", machine, bits, order);
}

static bool is_same(const struct head *a, const struct head *b)
{
    return a->ident[EI_CLASS] == b->ident[EI_CLASS] && a->ident[EI_DATA] == b->ident[EI_DATA] &&
           memcmp(a->machine, b->machine, sizeof a->machine) == 0;
}

static enum kek_rc check_architecture(const char *path, const struct head *head,
                                      struct kek_why *why)
{
    KEK_AUTO_CLOSE int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    struct head own;
    if (fd < 0 || !read_head(fd, &own) || is_same(head, &own)) {
        return KEK_OK; /* where there is no /proc, the loader is asked */
    }
    char theirs[48], ours[48];
    name_architecture(head, theirs);
    name_architecture(&own, ours);
    return kek_fail(why, KEK_UNIMPLEMENTED,
                    "PKCS#11 module %s is for %s, and kekd is for %s: take the vendor's library "
                    "for this architecture",
                    path, theirs, ours);
}

/* The file may change before it is loaded: this is for the message alone. */
static enum kek_rc look_at(const char *path, struct kek_why *why)
{
    KEK_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat about;
    if (fd < 0 || fstat(fd, &about) != 0) {
        return kek_fail_native(why, KEK_UNIMPLEMENTED, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "PKCS#11 module %s cannot be opened by uid %u", path,
                               (unsigned)geteuid());
    }
    if (!S_ISREG(about.st_mode)) {
        return kek_fail(why, KEK_UNIMPLEMENTED,
                        "PKCS#11 module %s is not a file: module-path names the library itself",
                        path);
    }
    struct head head;
    if (!read_head(fd, &head)) {
        return kek_fail(why, KEK_UNIMPLEMENTED,
                        "PKCS#11 module %s is not a shared library (it is no ELF file)", path);
    }
    return check_architecture(path, &head, why);
}

/* The module's own function list: unmanaged, so that C_Initialize is ours to call with the pReserved
 * that some vendors want, and critical, so that p11-kit does not call a failure a success. */
static CK_FUNCTION_LIST *load(const char *path)
{
    return p11_kit_module_load(path, P11_KIT_MODULE_UNMANAGED | P11_KIT_MODULE_CRITICAL);
}

/* p11-kit and the loader each put the file's name in front of what they have to say. */
static const char *last_word(const char *reason, const char *file)
{
    for (const char *at = strstr(reason, file); at != NULL; at = strstr(at, file)) {
        at += strlen(file);
        reason = strncmp(at, ": ", 2) == 0 ? at + 2 : reason;
    }
    return reason;
}

static void explain(const char *name, const char *file, struct kek_why *why)
{
    const char *reason = p11_kit_message();
    reason = reason == NULL ? "no reason given" : last_word(reason, file);
    if (strstr(reason, "C_GetFunctionList") != NULL) {
        (void)kek_fail(why, KEK_UNIMPLEMENTED,
                       "%s is a library, but no PKCS#11 module: it has no C_GetFunctionList", name);
    } else {
        (void)kek_fail(why, KEK_UNIMPLEMENTED, "cannot load PKCS#11 module %s: %s", name, reason);
    }
}

static CK_FUNCTION_LIST *load_path(const char *path, struct kek_why *why)
{
    if (look_at(path, why) != KEK_OK) {
        return NULL;
    }
    CK_FUNCTION_LIST *f = load(path);
    if (f == NULL) {
        explain(path, path, why);
    }
    return f;
}

/* RFC 7512: the name is the file's, without "lib" and ".so"; p11-kit knows the folder. */
static CK_FUNCTION_LIST *load_name(const char *name, struct kek_why *why)
{
    char file[256];
    snprintf(file, sizeof file, "lib%s.so", name);
    CK_FUNCTION_LIST *f = load(file);
    if (f == NULL) {
        snprintf(file, sizeof file, "%s.so", name);
        f = load(file);
    }
    if (f == NULL) {
        explain(name, file, why);
    }
    return f;
}

CK_FUNCTION_LIST *kek_p11_library_load(const struct kek_p11_uri *uri, struct kek_why *why)
{
    const char *path = kek_p11_uri_module_path(uri);
    p11_kit_be_quiet();
    return path != NULL ? load_path(path, why) : load_name(kek_p11_uri_module_name(uri), why);
}

static const char *variable_of(const struct kek_p11_uri *uri)
{
    const char *path = kek_p11_uri_module_path(uri);
    const struct kek_vendor *vendor =
        path != NULL ? kek_vendor_of_file(path) : kek_vendor_of_name(kek_p11_uri_module_name(uri));
    return vendor == NULL ? NULL : vendor->variable;
}

void kek_p11_library_say_where(const struct kek_p11_uri *uri, struct kek_why *why)
{
    const char *variable = variable_of(uri);
    const char *value = variable == NULL ? NULL : getenv(variable);
    size_t at = strlen(why->text), room = sizeof why->text - at;
    if (variable == NULL) {
        return;
    }
    if (value == NULL) {
        snprintf(why->text + at, room,
                 " (%s is not set; where it is needed, `env` of the provider sets it)", variable);
    } else if (access(value, R_OK) != 0) {
        snprintf(why->text + at, room, " (%s is %s, which uid %u cannot read: %s)", variable, value,
                 (unsigned)geteuid(), strerror(errno));
    } else {
        /* Its place is no word for an API server's log. */
        snprintf(why->text + at, room, " (as %s has it)", variable);
    }
}
