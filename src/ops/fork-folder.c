/* The folder of a guest that is made of another: see fork.c. */
#include "config.h"

#include "ops/fork-private.h"

#include <string.h>

#include "base/base.h"
#include "image/image.h"
#include "keeper/chain.h"
#include "net/define.h"
#include "ops/definition.h"
#include "ops/snapshot-private.h"
#include "qemu/img.h"
#include "qemu/qcow2.h"
#include "store/snapshots.h"

enum { SEED_LIMIT_BYTES = 1 << 20 };

/* Of what the disk was seen to stand on: a guest that runs could have its QEMU name more. */
static gboolean
copy_disk(const Forking *forking, const LodgeSnapshotDisk *disk, const char *below,
          const char *path, GError **error)
{
    g_autoptr(GPtrArray)
        chain = lodge_guest_chain(forking->store, forking->guest, disk->file, disk->format, error);
    if (chain == NULL) {
        return FALSE;
    }
    g_auto(GStrv) only = lodge_disk_chain_paths(chain);
    const LodgeImgConversion copy = {.source = below,
                                     .source_format = disk->format == LODGE_FORMAT_RAW ? "raw"
                                                                                       : "qcow2",
                                     .target = path,
                                     .trusted = TRUE,
                                     .only = (const char *const *)only};
    return lodge_img_convert(&copy, forking->progress, error);
}

static gboolean
make_disks(const Forking *forking, GKeyFile *file, const char *folder, GString *from,
           GError **error)
{
    const char *source = forking->what->source;
    for (guint i = 0; i < forking->snapshot->disks->len; i++) {
        const LodgeSnapshotDisk *disk = forking->snapshot->disks->pdata[i];
        const char *format = disk->format == LODGE_FORMAT_RAW ? "raw" : "qcow2";
        g_autofree char *group = g_strconcat("disk ", disk->name, NULL);
        g_autofree char *name = g_strconcat(disk->name, ".qcow2", NULL);
        g_autofree char *path = g_build_filename(folder, name, NULL);
        g_autofree char *below = lodge_store_guest_path(forking->store, source, disk->file);
        if (!(forking->what->full ? copy_disk(forking, disk, below, path, error)
                                  : lodge_img_create_overlay(path, below, format, 0, error))) {
            return lodge_error_prefix(error, "disk %s", disk->name);
        }
        g_key_file_set_string(file, group, "file", name);
        g_key_file_remove_key(file, group, "format", NULL);
        g_string_append_printf(from, "%s%s/%s", from->len > 0 ? " " : "", source, disk->file);
    }
    return TRUE;
}

static gboolean
make_nics(const Forking *forking, GKeyFile *file, const char *name, GError **error)
{
    for (guint i = 0; i < forking->guest->nics->len; i++) {
        const LodgeNic *nic = forking->guest->nics->pdata[i];
        static const char *const own[] = {"address", "address6", "forward", "ssh-port"};
        g_autofree char *group = g_strconcat("nic ", nic->name, NULL);
        g_autofree char *mac = lodge_mac_random();
        LodgePort port = {.guest = (char *)name, .nic = nic->name, .mac = mac};
        g_key_file_set_string(file, group, "mac", mac);
        for (gsize j = 0; j < G_N_ELEMENTS(own); j++) {
            g_key_file_remove_key(file, group, own[j], NULL);
        }
        if (g_str_equal(nic->network, LODGE_NETWORK_USER)) {
            continue;
        }
        g_auto(LodgeNetworkLease) lease = {NULL, NULL};
        g_autoptr(LodgeNetwork) network = lodge_network_find(forking->store, nic->network, error);
        if (network == NULL || !lodge_net_reserve(forking->store, network, &port, &lease, error)) {
            return lodge_error_prefix(error, "nic %s", nic->name);
        }
        if (lease.address4 != NULL) {
            g_key_file_set_string(file, group, "address", lease.address4);
        }
        if (lease.address6 != NULL) {
            g_key_file_set_string(file, group, "address6", lease.address6);
        }
    }
    return TRUE;
}

static gboolean
make_variables(const Forking *forking, GKeyFile *file, const char *folder, GError **error)
{
    static const char name[] = "nvram.qcow2";
    if (forking->snapshot->variables == NULL) {
        return TRUE;
    }
    g_autofree char *from = lodge_store_snapshot_path(forking->store, forking->what->source,
                                                      forking->snapshot->name,
                                                      forking->snapshot->variables);
    g_autofree char *to = g_build_filename(folder, name, NULL);
    g_key_file_set_string(file, "guest", "variables", name);
    return snapshot_copy_file(from, to, error);
}

/* What the guest sealed by it can be read in the fork, too. */
static gboolean
make_tpm(const Forking *forking, GKeyFile *file, const char *folder, GError **error)
{
    g_key_file_remove_key(file, "guest", "tpm-state", NULL);
    if (forking->snapshot->tpm == NULL) {
        return TRUE;
    }
    g_autofree char *from = lodge_store_snapshot_path(
        forking->store, forking->what->source, forking->snapshot->name, forking->snapshot->tpm);
    g_autofree char *state = g_build_filename(folder, "tpm", NULL);
    g_autofree char *to = lodge_guest_tpm_file(state);
    return lodge_dir_make(state, 0700, error) && snapshot_copy_file(from, to, error);
}

/* The source's, with another name, and that it is another guest: one that runs is told so by its
 * agent, but one that was interrupted on the way there boots. */
static gboolean
make_lodge_seed(const Forking *forking, const char *name, const char *folder, GError **error)
{
    g_autofree char *from = lodge_store_guest_path(forking->store, forking->what->source,
                                                   "seed.txt");
    g_autofree char *to = g_build_filename(folder, "seed.txt", NULL);
    g_autofree char *text = lodge_file_read(from, SEED_LIMIT_BYTES, NULL, error);
    if (text == NULL) {
        return FALSE;
    }
    g_auto(GStrv) lines = g_strsplit(g_strchomp(text), "\n", -1);
    g_autoptr(GString) seed = g_string_new(NULL);
    g_autofree char *token = lodge_uuid_random();
    g_string_append_printf(seed, "hostname=%s\nidentity=%s\n", name, token);
    for (gsize i = 0; lines[i] != NULL; i++) {
        if (!g_str_has_prefix(lines[i], "hostname=") && !g_str_has_prefix(lines[i], "identity=")) {
            g_string_append_printf(seed, "%s\n", lines[i]);
        }
    }
    return lodge_file_write(to, seed->str, seed->len, 0600, LODGE_WRITE_DEFAULT, error);
}

/* Another instance: cloud-init makes keys and names anew. */
static gboolean
make_cloud_seed(const Forking *forking, const LodgeGuest *guest, const char *folder, GError **error)
{
    const LodgeCreate nothing = {.name = guest->name};
    g_autofree char *instance = lodge_uuid_random();
    g_auto(GStrv) keys = definition_keys(forking->store, &nothing, error);
    g_autoptr(LodgeImage)
        image = guest->image != NULL ? lodge_store_image(forking->store, guest->image, NULL) : NULL;
    LodgeSeed seed = {.kind = guest->provision,
                      .hostname = guest->name,
                      .instance_id = instance,
                      .user = guest->user,
                      .groups = image != NULL ? image->groups : NULL,
                      .shell = image != NULL ? image->shell : NULL,
                      .authorized_keys = (const char *const *)keys};
    return keys != NULL && lodge_seed_write(folder, &seed, error);
}

static gboolean
make_seed(const Forking *forking, const LodgeGuest *guest, const char *folder, GError **error)
{
    switch ((LodgeProvision)guest->provision) {
    case LODGE_PROVISION_NONE:
        return TRUE;
    case LODGE_PROVISION_LODGE:
        return make_lodge_seed(forking, guest->name, folder, error);
    case LODGE_PROVISION_NOCLOUD:
        return make_cloud_seed(forking, guest, folder, error);
    }
    return TRUE;
}

gboolean
fork_folder(const Forking *forking, const char *name, const char *folder, GError **error)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autoptr(GString) from = g_string_new(NULL);
    g_autofree char *path = g_build_filename(folder, "guest.conf", NULL);
    if (!g_key_file_load_from_data(file, forking->text, strlen(forking->text),
                                   G_KEY_FILE_KEEP_COMMENTS, error) ||
        !make_disks(forking, file, folder, from, error) || !make_nics(forking, file, name, error) ||
        !make_variables(forking, file, folder, error) || !make_tpm(forking, file, folder, error)) {
        return FALSE;
    }
    if (forking->guest->forked_from != NULL) {
        g_string_append_printf(from, " %s", forking->guest->forked_from);
    }
    g_key_file_remove_key(file, "guest", "snapshot", NULL);
    g_key_file_remove_key(file, "guest", "autostart", NULL);
    if (forking->what->full) {
        g_key_file_remove_key(file, "guest", "forked-from", NULL);
    } else {
        g_key_file_set_string(file, "guest", "forked-from", from->str);
    }
    g_autofree char *text = g_key_file_to_data(file, NULL, NULL);
    g_autoptr(LodgeGuest) guest = lodge_guest_parse(name, text, strlen(text), error);
    return guest != NULL && make_seed(forking, guest, folder, error) &&
           (!forking->runs || lodge_store_creating_begin(forking->store, name, error)) &&
           lodge_file_write(path, text, strlen(text), 0600, LODGE_WRITE_DEFAULT, error);
}
