/* Which programs made the report, and how they were built: as the compiler and the loader see it. */
#include <elf.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "kek/digest.h"
#include "kek/small_file.h"
#include "report.h"

#define PROGRAM_MAX (64u << 20) /* bytes */

/* ---- how this program was built ---- */

#ifdef __clang__
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

#ifdef __OPTIMIZE__
#define OPTIMIZED true
#else
#define OPTIMIZED false
#endif
#if defined(__SSP_STRONG__) || defined(__SSP_ALL__)
#define STACK_PROTECTOR true
#else
#define STACK_PROTECTOR false
#endif
#ifdef __PIE__
#define PIE true
#else
#define PIE false
#endif
#ifdef __CET__
#define CONTROL_FLOW true
#else
#define CONTROL_FLOW false
#endif
#ifdef _FORTIFY_SOURCE
#define FORTIFY _FORTIFY_SOURCE
#else
#define FORTIFY 0
#endif
#ifdef KEK_SANITIZERS
#define SANITIZERS true
#else
#define SANITIZERS false
#endif
#ifdef KEK_BRIDGE
#define BRIDGE true
#else
#define BRIDGE false
#endif
#ifdef NDEBUG
#define ASSERTIONS false
#else
#define ASSERTIONS true
#endif

struct linked {
    bool relro, no_exec_stack, now;
};

static bool is_now(const struct dl_phdr_info *info, const ElfW(Phdr) * header)
{
    const ElfW(Dyn) *entry = (const void *)(info->dlpi_addr + header->p_vaddr);
    bool now = false;
    for (; entry->d_tag != DT_NULL; entry++) {
        now = now || entry->d_tag == DT_BIND_NOW ||
              (entry->d_tag == DT_FLAGS && (entry->d_un.d_val & DF_BIND_NOW) != 0) ||
              (entry->d_tag == DT_FLAGS_1 && (entry->d_un.d_val & DF_1_NOW) != 0);
    }
    return now;
}

/* The program itself comes first. */
static int look_at_program(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct linked *linked = arg;
    (void)size;
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        linked->relro = linked->relro || header->p_type == PT_GNU_RELRO;
        linked->no_exec_stack = linked->no_exec_stack ||
                                (header->p_type == PT_GNU_STACK && (header->p_flags & PF_X) == 0);
        linked->now = linked->now || (header->p_type == PT_DYNAMIC && is_now(info, header));
    }
    return 1;
}

static json_t *build(void)
{
    struct linked linked = {.relro = false};
    (void)dl_iterate_phdr(look_at_program, &linked);
    return json_pack("{s:s, s:b, s:b, s:b, s:i, s:b, s:b, s:b, s:b, s:b, s:b, s:b}", "compiler",
                     COMPILER, "optimized", OPTIMIZED, "stack_protector", STACK_PROTECTOR,
                     "position_independent", PIE, "fortify_source", (int)FORTIFY,
                     "control_flow_protection", CONTROL_FLOW, "relro", linked.relro, "bind_now",
                     linked.now, "no_executable_stack", linked.no_exec_stack, "assertions",
                     ASSERTIONS, "sanitizers", SANITIZERS, "bridge_workers", BRIDGE);
}

/* ---- the programs ---- */

static const char *const names[] = {"kekctl",       "kekd",        "kekd-pkcs11",
                                    "kekd-transit", "kekd-gcpkms", "kekd-as"};

/* Does something on this node run it, as far as the configuration says? */
static bool is_needed(const struct kek_config *config, const char *name)
{
    char worker[64];
    bool needed = strcmp(name, "kekctl") == 0 || strcmp(name, "kekd") == 0;
    for (size_t p = 0; p < config->provider_count; p++) {
        const struct kek_config_provider *provider = &config->providers[p];
        bool as = provider->user != NULL || provider->groups != NULL;
        snprintf(worker, sizeof worker, "kekd-%s", provider->type);
        needed = needed || strcmp(name, worker) == 0 || (as && strcmp(name, "kekd-as") == 0);
    }
    return needed;
}

static bool add_program(json_t *list, const char *name, const char *path, json_t *why)
{
    const struct kek_small_file file = {.what = "", .path = path, .max = PROGRAM_MAX};
    char digest[KEK_SHA256_TEXT];
    struct kek_why cause;
    KEK_AUTO_BUF struct kek_buf content;
    kek_buf_init(&content, PROGRAM_MAX);
    if (kek_small_file_read(&file, &content, NULL, &cause) != KEK_OK) {
        return report_say(why, "%s: no digest: %s", name, cause.text);
    }
    return kek_sha256_text(kek_buf_bytes(&content), digest) &&
           report_add(list, json_pack("{s:s, s:o, s:s}", "program", name, "path", output_text(path),
                                      "sha256", digest));
}

/* Where this program is; empty: that cannot be said. */
static void own_folder(char folder[static PATH_MAX])
{
    ssize_t len = readlink("/proc/self/exe", folder, PATH_MAX - 1);
    folder[len < 0 ? 0 : len] = '\0';
    char *slash = strrchr(folder, '/');
    if (slash != NULL) {
        *slash = '\0';
    }
}

/* Beside this program, else where kekd and its workers are installed. */
static bool find_program(const char *name, char path[static PATH_MAX + 16])
{
    char own[PATH_MAX];
    const char *const folders[] = {own, KEK_SBINDIR, KEK_LIBEXECDIR};
    own_folder(own);
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        snprintf(path, PATH_MAX + 16, "%s/%s", folders[i], name);
        if (access(path, F_OK) == 0) {
            return true;
        }
    }
    return false;
}

/* NULL: no memory. */
static json_t *programs(const struct kek_config *config, json_t *why)
{
    char path[PATH_MAX + 16];
    json_t *list = json_array();
    bool whole = list != NULL;
    for (size_t i = 0; whole && i < sizeof names / sizeof names[0]; i++) {
        if (find_program(names[i], path)) {
            whole = add_program(list, names[i], path, why);
        } else if (is_needed(config, names[i])) {
            whole = report_say(why, "%s: no digest: it is neither beside kekctl nor in %s or %s",
                               names[i], KEK_SBINDIR, KEK_LIBEXECDIR);
        }
    }
    if (!whole) {
        json_decref(list);
        return NULL;
    }
    return list;
}

json_t *report_software(struct report *report)
{
    struct utsname system;
    bool named = uname(&system) == 0;
    json_t *why = json_array();
    return report_section(json_pack("{s:s, s:s, s:s, s:o, s:o}", "version", PACKAGE_VERSION,
                                    "kernel", named ? system.release : "not known", "machine",
                                    named ? system.machine : "not known", "build", build(),
                                    "programs", programs(report->whole, why)),
                          why, true);
}

void report_software_show(struct page *page, const json_t *section)
{
    static const struct column about[] = {
        {"version", "kekctl's version"}, {"kernel", "Linux"}, {"machine", "Machine"}};
    static const struct column built[] = {{"compiler", "Compiler"},
                                          {"optimized", "Optimized"},
                                          {"stack_protector", "Stack protector"},
                                          {"position_independent", "Position-independent"},
                                          {"fortify_source", "_FORTIFY_SOURCE"},
                                          {"control_flow_protection", "Control-flow protection"},
                                          {"relro", "Read-only relocations"},
                                          {"bind_now", "All symbols bound at start"},
                                          {"no_executable_stack", "No executable stack"},
                                          {"assertions", "Assertions"},
                                          {"sanitizers", "Sanitizers"},
                                          {"bridge_workers", "Workers for services built"}};
    static const struct column programs_shown[] = {
        {"program", "Program"}, {"path", "Path"}, {"sha256", "SHA-256"}};
    page_object(page, section, about, sizeof about / sizeof about[0]);
    page_heading(page, 3, NULL, "How kekctl was built");
    page_object(page, json_object_get(section, "build"), built, sizeof built / sizeof built[0]);
    page_heading(page, 3, NULL, "Programs");
    page_table(page, json_object_get(section, "programs"), programs_shown,
               sizeof programs_shown / sizeof programs_shown[0], "No program could be read.");
}
