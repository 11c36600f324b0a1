/* Theory of operation: the guest `box` lives in the store <staging>/work/box, which LODGE_DIR names
 * for its keeper as long as we are at work; all verbs work on it as on any guest. Its network is
 * QEMU's user mode, which needs no right and can't be in anybody's way. Should we be killed, it
 * runs on until whoever next makes or removes an image, or `image gc`, sweeps the staging and ends
 * what runs in it (lodge_staging_sweep). */
#include "config.h"

#include "ops/workshop.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "image/image.h"
#include "keeper/chain.h"
#include "ops/agent-install.h"
#include "ops/copy.h"
#include "ops/ops.h"
#include "ops/seal-script.h"
#include "qemu/img.h"
#include "qemu/qcow2.h"
#include "qemu/variables.h"

enum {
    BOOT_TIMEOUT_MS = 10 * 60 * 1000,
    STOP_TIMEOUT_MS = 5 * 60 * 1000,
    LOG_LIMIT_BYTES = 16 << 20,
    KERNEL_LIMIT_BYTES = 512 << 20,
    TOLD_LINES = 12,
    INTERRUPTED_STATUS = 130,
};

static const char guest_name[] = "box";

/* It answers before its boot has ended, as guests of Lodge's images do: names can't be resolved
 * yet, and what is done once at the first boot may still be at work. */
static const char settle_script[] =
    "has() { command -v \"$1\" >/dev/null 2>&1; }\n"
    "if has cloud-init; then timeout 600 cloud-init status --wait; fi\n"
    "if has systemctl; then timeout 300 systemctl is-system-running --wait; fi\n"
    "tries=300\n"
    "until grep -q '^[a-z0-9]*.00000000.' /proc/net/route || [ $tries -eq 0 ]; do\n"
    "    sleep 0.2\n"
    "    tries=$((tries - 1))\n"
    "done\n"
    "exit 0\n";

static void
set_text(GKeyFile *file, const char *key, const char *value)
{
    if (value != NULL) {
        g_key_file_set_string(file, "guest", key, value);
    }
}

/* Who the seed lets in: Lodge's own key, by which the agent may have to be put in. */
static gboolean
write_seed(const Workshop *workshop, const WorkshopWish *wish, const char *folder, GError **error)
{
    g_autofree char *key = lodge_ssh_key(workshop->making->store, error);
    const char *const keys[] = {key, NULL};
    g_autofree char *instance = lodge_uuid_random();
    const LodgeSeed seed = {.kind = wish->like->provision,
                            .hostname = guest_name,
                            .user = wish->like->user,
                            .authorized_keys = keys,
                            .groups = wish->like->groups,
                            .shell = wish->like->shell,
                            .instance_id = instance};
    return key != NULL &&
           (seed.kind == LODGE_PROVISION_NONE || lodge_seed_write(folder, &seed, error));
}

/* What its system may have no other drivers for, or start by no other way. */
static void
set_machine(GKeyFile *file, const LodgeGuest *guest)
{
    static const char *const names[] = {"profile", "machine", "cpu", "firmware", "secure-boot"};
    const LodgeSection *section = lodge_section_find(lodge_guest_sections(), "guest");
    for (gsize i = 0; guest != NULL && i < G_N_ELEMENTS(names); i++) {
        g_autofree char *value = lodge_schema_format(lodge_section_key(section, names[i]), guest);
        set_text(file, names[i], value);
    }
}

static char *
render(const WorkshopWish *wish)
{
    static const char *const provisions[] = {"none", "lodge", "nocloud"};
    const LodgeImage *like = wish->like;
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autofree char *memory = lodge_size_format(like->memory_bytes);
    g_autofree char *size = lodge_size_format(like->size_bytes);
    g_autofree char *mac = lodge_mac_random();
    g_key_file_set_integer(file, "guest", "cpus", (int)like->cpus);
    set_text(file, "memory", memory);
    set_text(file, "user", like->user);
    set_text(file, "agent", like->agent ? "yes" : "no");
    set_text(file, "provision", provisions[like->provision]);
    set_machine(file, wish->machine);
    set_text(file, "firmware", wish->uefi ? "uefi" : NULL);
    set_text(file, "kernel", wish->kernel);
    set_text(file, "initrd", wish->initrd);
    set_text(file, "kernel-arguments", wish->kernel_arguments);
    g_key_file_set_string(file, "disk root", "file", "root.qcow2");
    g_key_file_set_string(file, "disk root", "size", size);
    g_key_file_set_string(file, "nic net", "network", "user");
    g_key_file_set_string(file, "nic net", "mac", mac);
    return g_key_file_to_data(file, NULL, NULL);
}

/* A disk may stand on images of its own store only, so an image's file gets another name there,
 * which also keeps it should the image be deleted meanwhile. */
static gboolean
make_disk(const Workshop *workshop, const WorkshopWish *wish, const char *disk, GError **error)
{
    if (!wish->is_image) {
        const LodgeImgConversion conversion = {.source = wish->disk,
                                               .source_format = wish->format,
                                               .target = disk,
                                               .trusted = TRUE,
                                               .only = wish->only};
        return lodge_img_convert(&conversion, workshop->making->progress, error);
    }
    g_autofree char *base = lodge_store_image_path(&workshop->store, "base", "disk.qcow2");
    g_autofree char *folder = g_path_get_dirname(base);
    if (!lodge_dir_make(folder, 0755, error)) {
        return FALSE;
    }
    if (link(wish->disk, base) < 0) {
        return lodge_error_errno(error, errno, "Linking %s", base);
    }
    return lodge_img_create_overlay(disk, base, wish->format, wish->like->size_bytes, error);
}

static gboolean
make_variables(const Workshop *workshop, const WorkshopWish *wish, const char *path, GError **error)
{
    const LodgeImgConversion copy = {.source = wish->variables,
                                     .source_format = "qcow2",
                                     .target = path,
                                     .trusted = TRUE,
                                     .only = wish->only};
    if (wish->variables != NULL) {
        return lodge_img_convert(&copy, NULL, error);
    }
    g_autoptr(LodgeGuest) guest = lodge_store_guest(&workshop->store, guest_name, error);
    return guest != NULL && lodge_variables_make(guest, path, error);
}

static gboolean
make_guest(const Workshop *workshop, const WorkshopWish *wish, GError **error)
{
    g_autofree char *folder = lodge_store_guest_path(&workshop->store, guest_name, NULL);
    g_autofree char *disk = g_build_filename(folder, "root.qcow2", NULL);
    g_autofree char *variables = g_build_filename(folder, "nvram.qcow2", NULL);
    g_autofree char *ssh = g_build_filename(workshop->store.root, "ssh", NULL);
    g_autofree char *real_ssh = g_build_filename(workshop->making->store->root, "ssh", NULL);
    g_autofree char *text = render(wish);
    if (!lodge_dir_make(folder, 0755, error) || !write_seed(workshop, wish, folder, error) ||
        !make_disk(workshop, wish, disk, error) ||
        !lodge_store_guest_write(&workshop->store, guest_name, text, error)) {
        return FALSE;
    }
    if (symlink(real_ssh, ssh) < 0) {
        return lodge_error_errno(error, errno, "%s", ssh);
    }
    return !wish->uefi || make_variables(workshop, wish, variables, error);
}

static gboolean
ensure_agent(const Workshop *workshop, const WorkshopWish *wish, GError **error)
{
    g_auto(LodgeAgentInstalled) installed = {0};
    return wish->like->agent || lodge_agent_install(&workshop->store, guest_name,
                                                    workshop->making->progress, &installed, error);
}

gboolean
workshop_open(Workshop *workshop, LodgeMaking *making, const WorkshopWish *wish, GError **error)
{
    *workshop = (Workshop){.making = making, .is_open = TRUE};
    workshop->store.root = lodge_making_path(making, guest_name);
    workshop->store.run = g_build_filename(workshop->store.root, "run", NULL);
    workshop->log = lodge_making_path(making, "log");
    workshop->old_dir = g_strdup(g_getenv("LODGE_DIR"));
    g_setenv("LODGE_DIR", workshop->store.root, TRUE);
    lodge_progress_stage(making->progress, "a hidden guest is made");
    return make_guest(workshop, wish, error) &&
           lodge_start(&workshop->store, guest_name, FALSE, NULL, BOOT_TIMEOUT_MS, making->progress,
                       error) &&
           ensure_agent(workshop, wish, error) &&
           workshop_run(workshop, "its boot", settle_script, error);
}

void
workshop_clear(Workshop *workshop)
{
    if (workshop->is_open) {
        g_autofree char *folder = lodge_store_guest_path(&workshop->store, guest_name, NULL);
        /* One more Ctrl-C must not leave it running. */
        if (g_file_test(folder, G_FILE_TEST_EXISTS)) {
            lodge_interrupt_forget();
            lodge_kill(&workshop->store, guest_name, NULL, NULL);
        }
        if (workshop->old_dir != NULL) {
            g_setenv("LODGE_DIR", workshop->old_dir, TRUE);
        } else {
            g_unsetenv("LODGE_DIR");
        }
    }
    g_free(workshop->store.root);
    g_free(workshop->store.run);
    g_free(workshop->log);
    g_free(workshop->old_dir);
    *workshop = (Workshop){0};
}

/* The end of what a step said, for its error. */
static char *
last_lines(const char *path)
{
    g_autofree char *text = lodge_file_read(path, LOG_LIMIT_BYTES, NULL, NULL);
    g_auto(GStrv) lines = g_strsplit(text != NULL ? g_strchomp(text) : "", "\n", -1);
    guint count = g_strv_length(lines);
    GString *tail = g_string_new(NULL);
    for (guint i = count > TOLD_LINES ? count - TOLD_LINES : 0; i < count; i++) {
        g_autofree char *shown = lodge_text_printable(g_strchomp(lines[i]));
        g_string_append_printf(tail, "\n  %s", shown);
    }
    return g_string_free(tail, FALSE);
}

gboolean
workshop_run(Workshop *workshop, const char *what, const char *script, GError **error)
{
    int status = 0;
    const char *const argv[] = {"sh", "-c", script, NULL};
    lodge_autofd log = open(workshop->log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    const LodgeExec exec = {.program = {.argv = argv, .merge = TRUE},
                            .input_fd = -1,
                            .output_fd = log,
                            .error_fd = log};
    if (log < 0) {
        return lodge_error_errno(error, errno, "%s", workshop->log);
    }
    if (!lodge_exec(&workshop->store, guest_name, &exec, &status, error)) {
        return lodge_error_prefix(error, "%s", what);
    }
    if (status == INTERRUPTED_STATUS) {
        return lodge_error_set(error, LODGE_ERROR_INTERRUPTED, "%s: interrupted", what);
    }
    if (status != 0) {
        g_autofree char *tail = last_lines(workshop->log);
        return lodge_error_set(error, LODGE_ERROR_FAILED, "%s: ended with status %d%s%s", what,
                               status, *tail != '\0' ? ", having said:" : "", tail);
    }
    return TRUE;
}

gboolean
workshop_put(Workshop *workshop, const char *from, const char *to, GError **error)
{
    const LodgeCopy copy = {
        .guest = guest_name, .guest_path = to, .host_path = from, .into_guest = TRUE};
    return lodge_copy(&workshop->store, &copy, NULL, NULL, error);
}

gboolean
workshop_seal(Workshop *workshop, GError **error)
{
    lodge_progress_stage(workshop->making->progress, "what is its own is removed");
    return workshop_run(workshop, "sealing it", seal_script, error);
}

gboolean
workshop_finish(Workshop *workshop, GError **error)
{
    LodgeMaking *making = workshop->making;
    g_autofree char *disk = lodge_store_guest_path(&workshop->store, guest_name, "root.qcow2");
    g_autofree char *target = lodge_making_path(making, "disk.qcow2");
    if (!lodge_stop(&workshop->store, guest_name, STOP_TIMEOUT_MS, making->progress, error)) {
        return FALSE;
    }
    g_autoptr(LodgeGuest) guest = lodge_store_guest(&workshop->store, guest_name, error);
    g_autoptr(GPtrArray) chain = guest != NULL
                                     ? lodge_guest_chain(&workshop->store, guest, "root.qcow2",
                                                         LODGE_FORMAT_QCOW2, error)
                                     : NULL;
    if (chain == NULL) {
        return FALSE;
    }
    g_auto(GStrv) only = lodge_disk_chain_paths(chain);
    const LodgeImgConversion conversion = {.source = disk,
                                           .source_format = "qcow2",
                                           .target = target,
                                           .trusted = TRUE,
                                           .only = (const char *const *)only};
    lodge_progress_stage(making->progress, "its disk is copied");
    g_free(making->image->disk);
    making->image->disk = g_strdup("disk.qcow2");
    return lodge_img_convert(&conversion, making->progress, error);
}

static gboolean
copy_beside(LodgeMaking *making, const char *path, const char *name, char **field, GError **error)
{
    if (path == NULL) {
        return TRUE;
    }
    gsize length = 0;
    g_autofree char *target = lodge_making_path(making, name);
    g_autofree char *bytes = lodge_file_read(path, KERNEL_LIMIT_BYTES, &length, error);
    *field = g_strdup(name);
    return bytes != NULL &&
           lodge_file_write(target, bytes, length, 0644, LODGE_WRITE_NO_SYNC, error);
}

gboolean
workshop_copy_kernels(LodgeMaking *making, const char *kernel, const char *initrd, GError **error)
{
    return copy_beside(making, kernel, "kernel", &making->image->kernel, error) &&
           copy_beside(making, initrd, "initrd", &making->image->initrd, error);
}
