#include "config.h"

#include <string.h>
#include <zlib.h>

#include "base/base.h"
#include "host/system.h"

enum { CONFIG_LIMIT_BYTES = 4 << 20 };

struct LodgeKernel {
    char *sysroot;
    char *release;
    gboolean read;
    gboolean lists_known; /* modules.dep or modules.builtin could be read */
    GHashTable *loadable; /* sets of names with '_' for '-' */
    GHashTable *builtin;
    char *config;
};

LodgeKernel *
lodge_kernel_new(const char *sysroot, const char *release)
{
    LodgeKernel *kernel = g_new0(LodgeKernel, 1);
    kernel->sysroot = g_strdup(sysroot);
    kernel->release = g_strdup(release);
    kernel->loadable = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    kernel->builtin = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    return kernel;
}

void
lodge_kernel_free(LodgeKernel *kernel)
{
    if (kernel == NULL) {
        return;
    }
    g_hash_table_unref(kernel->loadable);
    g_hash_table_unref(kernel->builtin);
    g_free(kernel->sysroot);
    g_free(kernel->release);
    g_free(kernel->config);
    g_free(kernel);
}

const char *
lodge_kernel_release(const LodgeKernel *kernel)
{
    return kernel->release;
}

/* Lines like "kernel/drivers/net/tun.ko.xz: …" name a module each. */
static void
read_list(LodgeKernel *kernel, const char *file, GHashTable *names)
{
    g_autofree char *path = g_strdup_printf("/lib/modules/%s/%s", kernel->release, file);
    g_autofree char *text = lodge_system_read(kernel->sysroot, path);
    if (text == NULL) {
        return;
    }
    kernel->lists_known = TRUE;
    for (char *line = text, *next; line != NULL; line = next) {
        next = strchr(line, '\n');
        if (next != NULL) {
            *next++ = '\0';
        }
        line[strcspn(line, ":")] = '\0';
        const char *slash = strrchr(line, '/');
        char *name = g_strdup(slash != NULL ? slash + 1 : line);
        name[strcspn(name, ".")] = '\0';
        g_hash_table_add(names, g_strdelimit(name, "-", '_'));
    }
}

static char *
unpack(const char *path)
{
    gzFile file = gzopen(path, "rbe");
    if (file == NULL) {
        return NULL;
    }
    g_autoptr(GString) text = g_string_new(NULL);
    char buffer[16384];
    int got;
    while ((got = gzread(file, buffer, sizeof buffer)) > 0 && text->len < CONFIG_LIMIT_BYTES) {
        g_string_append_len(text, buffer, got);
    }
    gzclose_r(file);
    return got < 0 ? NULL : g_string_free(g_steal_pointer(&text), FALSE);
}

static void
read_config(LodgeKernel *kernel)
{
    g_autofree char *packed = lodge_system_path(kernel->sysroot, "/proc/config.gz");
    g_autofree char *boot = g_strdup_printf("/boot/config-%s", kernel->release);
    g_autofree char *beside = g_strdup_printf("/lib/modules/%s/config", kernel->release);
    kernel->config = lodge_system_read(kernel->sysroot, boot);
    if (kernel->config == NULL) {
        kernel->config = lodge_system_read(kernel->sysroot, beside);
    }
    if (kernel->config == NULL) {
        kernel->config = unpack(packed);
    }
}

static gboolean
is_loaded(const LodgeKernel *kernel, const char *name)
{
    /* Built-in code with parameters has a folder too, but no reference count. */
    g_autofree char *count = g_strdup_printf("/sys/module/%s/refcnt", name);
    g_autofree char *state = g_strdup_printf("/sys/module/%s/initstate", name);
    if (lodge_system_exists(kernel->sysroot, count) ||
        lodge_system_exists(kernel->sysroot, state)) {
        return TRUE;
    }
    g_autofree char *modules = lodge_system_text(kernel->sysroot, "/proc/modules");
    g_autofree char *text = g_strconcat("\n", modules, NULL);
    g_autofree char *start = g_strdup_printf("\n%s ", name);
    return strstr(text, start) != NULL;
}

static void
read_once(LodgeKernel *kernel)
{
    if (!kernel->read) {
        kernel->read = TRUE;
        read_list(kernel, "modules.dep", kernel->loadable);
        read_list(kernel, "modules.builtin", kernel->builtin);
        read_config(kernel);
    }
}

char
lodge_kernel_option(LodgeKernel *kernel, const char *option)
{
    read_once(kernel);
    if (kernel->config == NULL) {
        return '?';
    }
    g_autofree char *set = g_strdup_printf("\nCONFIG_%s=", option);
    const char *found = strstr(kernel->config, set);
    return found != NULL ? found[strlen(set)] : 'n';
}

LodgeModuleState
lodge_kernel_module(LodgeKernel *kernel, const char *module, const char *option)
{
    read_once(kernel);
    g_autofree char *name = g_strdelimit(g_strdup(module), "-", '_');
    char built = option != NULL ? lodge_kernel_option(kernel, option) : '?';
    if (is_loaded(kernel, name)) {
        return LODGE_MODULE_LOADED;
    }
    if (built == 'y' || g_hash_table_contains(kernel->builtin, name)) {
        return LODGE_MODULE_BUILTIN;
    }
    if (g_hash_table_contains(kernel->loadable, name)) {
        return LODGE_MODULE_LOADABLE;
    }
    /* A folder of built-in code: seen where neither lists nor a configuration are. */
    g_autofree char *folder = g_strdup_printf("/sys/module/%s", name);
    if (lodge_system_exists(kernel->sysroot, folder)) {
        return LODGE_MODULE_BUILTIN;
    }
    if (built == 'm') {
        return LODGE_MODULE_NOT_INSTALLED;
    }
    return built == 'n' || kernel->lists_known ? LODGE_MODULE_NOT_BUILT : LODGE_MODULE_UNKNOWN;
}
