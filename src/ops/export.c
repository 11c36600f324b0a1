#include "config.h"

#include "ops/export.h"

#include <string.h>
#include <sys/stat.h>

#include "base/base.h"
#include "keeper/chain.h"
#include "image/export.h"
#include "image/image.h"
#include "ops/disk.h"
#include "ops/session.h"
#include "qemu/disks.h"
#include "qemu/qcow2.h"
#include "store/snapshots.h"

/* What is being gathered; the strings that @machine borrows live here. */
typedef struct {
    const LodgeStore *store;
    const LodgeExportWish *wish;
    const char *format;
    LodgeExportMachine machine;
    GArray *disks;   /* LodgeExportDisk */
    GPtrArray *text; /* char * */
    GPtrArray *only; /* char ** */
} Gathering;

static void
gathering_clear(Gathering *gathering)
{
    g_clear_pointer(&gathering->disks, g_array_unref);
    g_clear_pointer(&gathering->text, g_ptr_array_unref);
    g_clear_pointer(&gathering->only, g_ptr_array_unref);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Gathering, gathering_clear)

void
lodge_exported_clear(LodgeExported *exported)
{
    g_clear_pointer(&exported->name, g_free);
    g_clear_pointer(&exported->format, g_free);
    g_clear_pointer(&exported->os, g_free);
}

static void
add_chain(Gathering *gathering, const GPtrArray *chain, const char *format)
{
    const LodgeLayer *top = chain->pdata[0];
    char *path = g_strdup(top->path);
    char **only = lodge_disk_chain_paths(chain);
    g_ptr_array_add(gathering->text, path);
    g_ptr_array_add(gathering->only, only);
    LodgeExportDisk disk = {.path = path,
                            .format = format,
                            .size_bytes = top->virtual_size_bytes,
                            .only = (const char *const *)only};
    g_array_append_val(gathering->disks, disk);
}

static gboolean
add_image_disk(Gathering *gathering, const char *image, const char *file, GError **error)
{
    g_autofree char *path = lodge_store_image_path(gathering->store, image, file);
    g_autoptr(GPtrArray) chain = lodge_qcow2_chain(path, error);
    if (chain != NULL) {
        add_chain(gathering, chain, "qcow2");
    }
    return chain != NULL;
}

static gboolean
add_disk(Gathering *gathering, const LodgeGuest *guest, const char *file, int format,
         GError **error)
{
    if (lodge_disk_is_remote(file)) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "%s is not on this host, so it can't be exported", file);
    }
    g_autoptr(GPtrArray) chain = lodge_guest_chain(gathering->store, guest, file, format, error);
    if (chain == NULL) {
        return FALSE;
    }
    add_chain(gathering, chain, format == LODGE_FORMAT_RAW ? "raw" : "qcow2");
    return TRUE;
}

static gboolean
write_out(Gathering *gathering, LodgeProgress *progress, LodgeExported *exported, GError **error)
{
    struct stat info;
    const LodgeExportWish *wish = gathering->wish;
    LodgeExportMachine *machine = &gathering->machine;
    machine->disks = (const LodgeExportDisk *)(void *)gathering->disks->data;
    machine->disk_count = gathering->disks->len;
    exported->name = g_strdup(machine->name);
    exported->format = g_strdup(gathering->format);
    exported->size_bytes = machine->disks[0].size_bytes;
    exported->memory_bytes = machine->memory_bytes;
    exported->uefi = machine->uefi;
    if (!lodge_export_write(machine, wish->file, gathering->format, wish->compressed, progress,
                            error)) {
        return FALSE;
    }
    exported->file_bytes = stat(wish->file, &info) == 0 ? (guint64)info.st_blocks * 512 : 0;
    return TRUE;
}

static gboolean
export_image(Gathering *gathering, const char *name, LodgeProgress *progress,
             LodgeExported *exported, GError **error)
{
    const LodgeExportWish *wish = gathering->wish;
    g_autoptr(LodgeImage) image = lodge_store_image(gathering->store, name, error);
    if (image == NULL) {
        return FALSE;
    }
    if (wish->disk != NULL || wish->snapshot != NULL) {
        return lodge_error_set(error, LODGE_ERROR_USAGE, "--%s is for guests, and %s is an image",
                               wish->disk != NULL ? "disk" : "snapshot", name);
    }
    if (image->disk == NULL) {
        return lodge_error_set(error, LODGE_ERROR_INVALID, "image %s has no disk", name);
    }
    gathering->machine = (LodgeExportMachine){.name = name,
                                              .title = image->title,
                                              .cpus = image->cpus,
                                              .memory_bytes = image->memory_bytes,
                                              .uefi = image->uefi_only};
    exported->os = g_strdup(name);
    exported->agent = image->agent;
    exported->nocloud = image->provision == LODGE_PROVISION_NOCLOUD;
    if (image->more_disks != NULL && !g_str_equal(gathering->format, "ova")) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "image %s has several disks: only an OVA holds them (`lodge image "
                               "export %s FILE.ova`)",
                               name, name);
    }
    if (!add_image_disk(gathering, name, image->disk, error)) {
        return FALSE;
    }
    g_auto(GStrv) more = lodge_image_more(image);
    for (gsize i = 0; more[i] != NULL; i++) {
        if (!add_image_disk(gathering, name, more[i], error)) {
            return FALSE;
        }
    }
    return write_out(gathering, progress, exported, error);
}

/* The first one, the one that is named, or for an OVA all that a guest writes to. */
static gboolean
is_wanted(const Gathering *gathering, const char *name, gboolean read_only)
{
    const char *disk = gathering->wish->disk;
    if (disk != NULL) {
        return g_str_equal(disk, name);
    }
    return gathering->disks->len == 0 || (g_str_equal(gathering->format, "ova") && !read_only);
}

static gboolean
add_present_disks(Gathering *gathering, const LodgeGuest *guest, GError **error)
{
    for (guint i = 0; i < guest->disks->len; i++) {
        const LodgeDisk *disk = guest->disks->pdata[i];
        if (is_wanted(gathering, disk->name, disk->read_only) &&
            !add_disk(gathering, guest, disk->file, disk->format, error)) {
            return lodge_error_prefix(error, "disk %s", disk->name);
        }
    }
    return TRUE;
}

static gboolean
add_snapshot_disks(Gathering *gathering, const LodgeGuest *guest, GError **error)
{
    g_autoptr(LodgeSnapshot) snapshot = lodge_store_snapshot(gathering->store, guest->name,
                                                             gathering->wish->snapshot, error);
    for (guint i = 0; snapshot != NULL && i < snapshot->disks->len; i++) {
        const LodgeSnapshotDisk *disk = snapshot->disks->pdata[i];
        if (is_wanted(gathering, disk->name, FALSE) &&
            !add_disk(gathering, guest, disk->file, disk->format, error)) {
            return lodge_error_prefix(error, "disk %s", disk->name);
        }
    }
    return snapshot != NULL;
}

static gboolean
refuse_running(const Session *session, GError **error)
{
    const char *name = session->guest->name;
    return lodge_error_set(error, LODGE_ERROR_BUSY,
                           "guest %s is %s, so its disk changes all the while (`lodge stop %s`; or "
                           "`lodge snapshot create %s now --disks-only`, then export with "
                           "--snapshot now)",
                           name, lodge_state_word(session->state->state), name, name);
}

static gboolean
gather_guest(Gathering *gathering, const Session *session, GError **error)
{
    const LodgeGuest *guest = session->guest;
    const LodgeExportWish *wish = gathering->wish;
    gathering->machine = (LodgeExportMachine){.name = guest->name,
                                              .title = guest->description,
                                              .cpus = guest->cpus,
                                              .memory_bytes = guest->memory_bytes,
                                              .uefi = lodge_guest_is_uefi(guest)};
    if (wish->snapshot == NULL && session->state->has_qemu) {
        return refuse_running(session, error);
    }
    if (wish->disk != NULL) {
        g_autoptr(LodgeDiskView)
            view = lodge_disk_find(gathering->store, guest->name, wish->disk, error);
        if (view == NULL) {
            return FALSE;
        }
    }
    if (!(wish->snapshot != NULL ? add_snapshot_disks(gathering, guest, error)
                                 : add_present_disks(gathering, guest, error))) {
        return lodge_error_prefix(error, "guest %s", guest->name);
    }
    return gathering->disks->len > 0 ||
           lodge_error_set(error, LODGE_ERROR_NOT_FOUND, "guest %s has no such disk%s", guest->name,
                           wish->snapshot != NULL ? " in that snapshot" : "");
}

static gboolean
export_guest(Gathering *gathering, const char *name, LodgeProgress *progress,
             LodgeExported *exported, GError **error)
{
    g_autoptr(Session) session = session_begin(gathering->store, name, "export", error);
    if (session == NULL || !gather_guest(gathering, session, error)) {
        return FALSE;
    }
    const LodgeGuest *guest = session->guest;
    g_autoptr(LodgeImage) image = guest->image != NULL
                                      ? lodge_store_image(gathering->store, guest->image, NULL)
                                      : NULL;
    exported->os = g_strdup(guest->os != NULL ? guest->os : guest->image);
    exported->agent = guest->agent;
    exported->nocloud = image != NULL && image->provision == LODGE_PROVISION_NOCLOUD;
    return write_out(gathering, lodge_job_progress(session->job, progress), exported, error);
}

gboolean
lodge_export(const LodgeStore *store, const LodgeExportWish *wish, LodgeProgress *progress,
             LodgeExported *out_exported, GError **error)
{
    const char *name = wish->what;
    gboolean only_image = g_str_has_prefix(name, "image/");
    gboolean only_guest = g_str_has_prefix(name, "guest/");
    name += only_image || only_guest ? strlen("image/") : 0;
    *out_exported = (LodgeExported){0};
    g_autoptr(LodgeGuest) guest = only_image ? NULL : lodge_store_guest(store, name, NULL);
    g_autoptr(LodgeImage) image = only_guest ? NULL : lodge_store_image(store, name, NULL);
    if (guest != NULL && image != NULL) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "%s is a guest and an image: say guest/%s or image/%s", name, name,
                               name);
    }
    g_auto(Gathering) gathering = {
        .store = store,
        .wish = wish,
        .format = wish->format != NULL ? wish->format : lodge_export_format_of(wish->file),
        .disks = g_array_new(FALSE, TRUE, sizeof(LodgeExportDisk)),
        .text = g_ptr_array_new_with_free_func(g_free),
        .only = g_ptr_array_new_with_free_func((GDestroyNotify)g_strfreev)};
    gboolean is_guest = only_guest || (guest != NULL && image == NULL);
    return (is_guest ? export_guest(&gathering, name, progress, out_exported, error)
                     : export_image(&gathering, name, progress, out_exported, error)) ||
           lodge_error_prefix(error, "exporting %s", name);
}

/* --- OpenStack -------------------------------------------------------------------------------- */

/* "debian" and "12" of "debian-12", for distributions that Glance knows by that name. */
static void
add_distribution(GPtrArray *words, const char *os)
{
    static const char *const known[][2] = {
        {"debian", "debian"}, {"ubuntu", "ubuntu"},       {"fedora", "fedora"},
        {"arch", "arch"},     {"almalinux", "almalinux"}, {"rocky", "rocky"},
        {"alpine", "alpine"}, {"opensuse", "opensuse"},   {"freebsd", "freebsd"}};
    g_auto(GStrv) parts = g_strsplit(os != NULL ? os : "", "-", 2);
    for (gsize i = 0; parts[0] != NULL && i < G_N_ELEMENTS(known); i++) {
        if (!g_str_equal(parts[0], known[i][0])) {
            continue;
        }
        g_ptr_array_add(words, g_strdup_printf("--property os_distro=%s", known[i][1]));
        if (parts[1] != NULL) {
            g_autofree char *version = lodge_text_shell_quote(parts[1]);
            g_ptr_array_add(words, g_strdup_printf("--property os_version=%s", version));
        }
    }
}

char *
lodge_export_openstack(const LodgeExported *exported, const char *file)
{
    const guint64 gib = G_GUINT64_CONSTANT(1) << 30;
    g_autoptr(GPtrArray) words = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *quoted = lodge_text_shell_quote(file);
    g_autofree char *name = lodge_text_shell_quote(exported->name);
    gboolean is_bsd = exported->os != NULL && g_str_has_prefix(exported->os, "freebsd");
    g_ptr_array_add(words, g_strdup("openstack image create --container-format bare"));
    g_ptr_array_add(words, g_strdup_printf("--disk-format %s", exported->format));
    g_ptr_array_add(words, g_strdup_printf("--file %s", quoted));
    g_ptr_array_add(words, g_strdup_printf("--min-disk %" G_GUINT64_FORMAT,
                                           (exported->size_bytes + gib - 1) / gib));
    g_ptr_array_add(words,
                    g_strdup_printf("--min-ram %" G_GUINT64_FORMAT, exported->memory_bytes >> 20));
    g_ptr_array_add(words,
                    g_strdup("--property architecture=x86_64 --property hypervisor_type=qemu "
                             "--property hw_machine_type=q35"));
    g_ptr_array_add(
        words, g_strdup_printf("--property hw_firmware_type=%s", exported->uefi ? "uefi" : "bios"));
    g_ptr_array_add(words, g_strdup("--property hw_disk_bus=virtio --property hw_vif_model=virtio "
                                    "--property hw_rng_model=virtio"));
    if (exported->agent) {
        g_ptr_array_add(words, g_strdup("--property hw_qemu_guest_agent=yes"));
    }
    g_ptr_array_add(words,
                    g_strdup(is_bsd ? "--property os_type=freebsd" : "--property os_type=linux"));
    add_distribution(words, exported->os);
    g_ptr_array_add(words, g_strdup(name));
    g_ptr_array_add(words, NULL);
    return g_strjoinv(" ", (char **)words->pdata);
}
