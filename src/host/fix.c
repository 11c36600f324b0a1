/* Theory of operation
 *
 * A plan lists what is lacking at this moment, so that a second run, after all went well, plans
 * nothing. Modules that the kernel loads itself on demand are left to it. A module is loaded first
 * and its line in a file written after that: one that can't be loaded here (turned off in the
 * firmware, say) does not make each boot complain. */
#include "config.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/base.h"
#include "host/check.h"

#define MODULES_LOAD "/etc/modules-load.d/lodge.conf"
#define OPENRC_MODULES "/etc/conf.d/modules"
#define MODPROBE_OPTIONS "/etc/modprobe.d/lodge.conf"

enum {
    MODPROBE_TIMEOUT_MS = 30000,
    FILE_LIMIT_BYTES = 1 << 20,
};

static const struct {
    const char *module;
    const char *option;
    const char *flag;   /* of the processor, which must have it; NULL: any */
    const char *device; /* if this is there, the module needs no loading; NULL: it has none */
    const char *use;
} wanted[] = {
    {"kvm_intel", "KVM_INTEL", "vmx", "/dev/kvm", "guests at the processor's speed"},
    {"kvm_amd", "KVM_AMD", "svm", "/dev/kvm", "guests at the processor's speed"},
    {"tun", "TUN", NULL, "/dev/net/tun", "network cards of guests"},
    {"vhost_net", "VHOST_NET", NULL, "/dev/vhost-net", "a faster network for guests"},
    {"vhost_vsock", "VHOST_VSOCK", NULL, "/dev/vhost-vsock", "sockets between host and guests"},
};

static void
step_free(gpointer data)
{
    LodgeFixStep *step = data;
    g_free(step->sentence);
    g_free(step->module);
    g_free(step->path);
    g_free(step->line);
    g_free(step);
}

static gboolean
has_line(const char *text, const char *line)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (gsize i = 0; lines[i] != NULL; i++) {
        if (strcmp(g_strstrip(lines[i]), line) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

static void
plan_module(GPtrArray *plan, const char *module, const char *use)
{
    LodgeFixStep *step = g_new0(LodgeFixStep, 1);
    step->kind = LODGE_FIX_LOAD_MODULE;
    step->module = g_strdup(module);
    step->sentence = g_strdup_printf("Load the kernel module %s, for %s", module, use);
    g_ptr_array_add(plan, step);
}

/* Takes @line. Plans nothing if it is there. */
static void
plan_line(const char *sysroot, GPtrArray *plan, const char *module, const char *path, char *line,
          const char *purpose)
{
    g_autofree char *owned = line;
    g_autofree char *text = lodge_system_text(sysroot, path);
    if (has_line(text, line)) {
        return;
    }
    LodgeFixStep *step = g_new0(LodgeFixStep, 1);
    step->kind = LODGE_FIX_ADD_LINE;
    step->module = g_strdup(module);
    step->path = g_strdup(path);
    step->line = g_steal_pointer(&owned);
    step->sentence = g_strdup_printf("Add “%s” to %s, %s", step->line, path, purpose);
    g_ptr_array_add(plan, step);
}

static void
plan_modules(const char *sysroot, LodgeKernel *kernel, GPtrArray *plan)
{
    g_autofree char *cpuinfo = lodge_system_text(sysroot, "/proc/cpuinfo");
    g_autofree char *flags = lodge_system_field(cpuinfo, "flags");
    for (gsize i = 0; i < G_N_ELEMENTS(wanted); i++) {
        const char *module = wanted[i].module;
        gboolean fits = wanted[i].flag == NULL || lodge_system_has_word(flags, wanted[i].flag);
        if (!fits || lodge_system_exists(sysroot, wanted[i].device) ||
            lodge_kernel_module(kernel, module, wanted[i].option) != LODGE_MODULE_LOADABLE) {
            continue;
        }
        plan_module(plan, module, wanted[i].use);
        plan_line(sysroot, plan, module, MODULES_LOAD, g_strdup(module),
                  "so that it is loaded at each boot");
        /* OpenRC's older releases know this file only. */
        if (lodge_system_exists(sysroot, OPENRC_MODULES)) {
            plan_line(sysroot, plan, module, OPENRC_MODULES,
                      g_strdup_printf("modules=\"${modules} %s\"", module),
                      "where OpenRC looks for what to load at each boot");
        }
    }
}

static void
plan_nested(const char *sysroot, GPtrArray *plan)
{
    static const char *const modules[] = {"kvm_intel", "kvm_amd"};
    for (gsize i = 0; i < G_N_ELEMENTS(modules); i++) {
        g_autofree char *parameter = g_strdup_printf("/sys/module/%s/parameters/nested",
                                                     modules[i]);
        g_autofree char *count = g_strdup_printf("/sys/module/%s/refcnt", modules[i]);
        g_autofree char *value = lodge_system_text(sysroot, parameter);
        gboolean off = strcmp(value, "N") == 0 || strcmp(value, "0") == 0;
        if (off && lodge_system_exists(sysroot, count)) {
            plan_line(sysroot, plan, modules[i], MODPROBE_OPTIONS,
                      g_strdup_printf("options %s nested=1", modules[i]),
                      "so that guests can run guests from the next boot on");
        }
    }
}

GPtrArray *
lodge_host_fix_plan(const char *sysroot)
{
    const char *root = sysroot != NULL ? sysroot : "";
    GPtrArray *plan = g_ptr_array_new_with_free_func(step_free);
    g_autofree char *container = lodge_system_container(root);
    if (container != NULL) {
        return plan;
    }
    g_autofree char *release = lodge_system_text(root, "/proc/sys/kernel/osrelease");
    g_autoptr(LodgeKernel) kernel = lodge_kernel_new(root, release);
    plan_modules(root, kernel, plan);
    plan_nested(root, plan);
    return plan;
}

static gboolean
run_modprobe(const char *module, gpointer unused, GError **error)
{
    (void)unused;
    const char *argv[] = {"modprobe", "--", module, NULL};
    return lodge_process_run_argv(argv, MODPROBE_TIMEOUT_MS, NULL, error);
}

/* Put the line behind all others; the file keeps its mode. */
static gboolean
add_line(const char *sysroot, const char *path, const char *line, GError **error)
{
    g_autofree char *full = lodge_system_path(sysroot, path);
    g_autofree char *folder = g_path_get_dirname(full);
    g_autoptr(GError) problem = NULL;
    g_autofree char *text = lodge_file_read(full, FILE_LIMIT_BYTES, NULL, &problem);
    struct stat info = {.st_mode = 0644};
    if (text == NULL && !g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_NOT_FOUND)) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    if (text == NULL) {
        text = g_strdup("# Written by “lodge check --fix”.\n");
    } else if (stat(full, &info) < 0) {
        return lodge_error_errno(error, errno, "%s", full);
    } else if (has_line(text, line)) {
        return TRUE;
    }
    gboolean ended = *text == '\0' || g_str_has_suffix(text, "\n");
    g_autofree char *changed = g_strconcat(text, ended ? "" : "\n", line, "\n", NULL);
    return lodge_dir_make(folder, 0755, error) &&
           lodge_file_write(full, changed, strlen(changed), info.st_mode & 07777,
                            LODGE_WRITE_DEFAULT, error);
}

gboolean
lodge_host_fix_apply(const char *sysroot, const GPtrArray *plan, LodgeModprobeFunc modprobe,
                     gpointer data, GError **error)
{
    const char *root = sysroot != NULL ? sysroot : "";
    LodgeModprobeFunc load = modprobe != NULL ? modprobe : run_modprobe;
    g_autoptr(GHashTable) failed = g_hash_table_new(g_str_hash, g_str_equal);
    g_autoptr(GError) first = NULL;
    for (guint i = 0; i < plan->len; i++) {
        const LodgeFixStep *step = plan->pdata[i];
        g_autoptr(GError) problem = NULL;
        switch (step->kind) {
        case LODGE_FIX_LOAD_MODULE:
            if (!load(step->module, data, &problem)) {
                lodge_error_prefix(&problem, "loading %s", step->module);
                g_hash_table_add(failed, step->module);
            }
            break;
        case LODGE_FIX_ADD_LINE:
            if (!g_hash_table_contains(failed, step->module)) {
                add_line(root, step->path, step->line, &problem);
            }
            break;
        }
        if (problem != NULL && first == NULL) {
            first = g_steal_pointer(&problem);
        }
    }
    if (first != NULL) {
        g_propagate_error(error, g_steal_pointer(&first));
        return FALSE;
    }
    return TRUE;
}
