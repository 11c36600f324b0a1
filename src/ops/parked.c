#include "config.h"

#include "ops/parked.h"

#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "base/base.h"
#include "host/check.h"
#include "host/host.h"
#include "image/warm.h"
#include "net/define.h"
#include "net/net.h"
#include "qemu/disks.h"

enum {
    KEY_LENGTH = 16,
    CPU_LIMIT_BYTES = 4 << 20,
};

/* Which guests are all alike but for what the agent tells them. */
static const char *
obstacle(const LodgeGuest *guest, const LodgeImage *image)
{
    const LodgeDisk *disk = guest->disks->len == 1 ? guest->disks->pdata[0] : NULL;
    const LodgeNic *nic = guest->nics->len == 1 ? guest->nics->pdata[0] : NULL;
    if (image->provision != LODGE_PROVISION_LODGE || guest->provision != LODGE_PROVISION_LODGE ||
        !guest->agent) {
        return "the image is none that Lodge builds";
    }
    if (lodge_guest_is_uefi(guest)) {
        return "it boots by UEFI";
    }
    if (disk == NULL || disk->format != LODGE_FORMAT_QCOW2 || guest->cdroms->len > 0) {
        return "it has other drives than one disk";
    }
    if (disk->size_bytes < image->size_bytes) {
        return "its disk is smaller than the image";
    }
    if (nic == NULL || guest->usbs->len > 0 || guest->pcis->len > 0 || lodge_guest_has_tpm(guest)) {
        return "it has other devices than one NIC";
    }
    if (g_strcmp0(guest->user, image->user) != 0) {
        return "its user is not the image's";
    }
    return guest->huge_pages || guest->numa != NULL ? "its memory is chosen" : NULL;
}

/* What a saved state of a guest under KVM may depend on besides QEMU. */
static void
add_host(GString *text)
{
    struct utsname names;
    g_autofree char *cpus = lodge_file_read("/proc/cpuinfo", CPU_LIMIT_BYTES, NULL, NULL);
    static const char *const fields[] = {"model name", "microcode", "flags"};
    for (gsize i = 0; cpus != NULL && i < G_N_ELEMENTS(fields); i++) {
        const char *found = strstr(cpus, fields[i]);
        if (found != NULL) {
            g_string_append_len(text, found, (gssize)strcspn(found, "\n"));
        }
    }
    if (uname(&names) == 0) {
        g_string_append(text, names.release);
    }
}

static char *
key_of(const ParkedShape *shape, const LodgeImage *image, GError **error)
{
    struct stat info = {0};
    g_autoptr(GString) text = g_string_new(NULL);
    g_autoptr(LodgeCommand) command = parked_command(shape, "/", -1, LODGE_BEGIN_PAUSED, error);
    if (command == NULL) {
        return NULL;
    }
    for (guint i = 0; i + 1 < command->argv->len; i++) {
        g_string_append_printf(text, "%s\n", (const char *)command->argv->pdata[i]);
    }
    stat(shape->program, &info);
    g_string_append_printf(text, "%s %" G_GINT64_FORMAT " %" G_GINT64_FORMAT "\n%s %s %s\n",
                           shape->qemu, (gint64)info.st_size, (gint64)info.st_mtim.tv_sec,
                           image->disk, image->kernel, image->initrd);
    if (shape->tap.link == NULL) {
        g_string_append(text, "without its network's state\n"); /* see machine_state_cut_networks */
    }
    if (shape->kvm) {
        add_host(text);
    }
    char *key = g_compute_checksum_for_string(G_CHECKSUM_SHA256, text->str, (gssize)text->len);
    key[KEY_LENGTH] = '\0';
    return key;
}

static gboolean
find_qemu(const LodgeStore *store, ParkedShape *shape, GError **error)
{
    LodgeKvmVerdict verdict = {0};
    shape->program = lodge_program_find("qemu-system-x86_64");
    shape->qemu = shape->program != NULL ? lodge_qemu_version(shape->program, store->run) : NULL;
    if (shape->qemu == NULL) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "qemu-system-x86_64 is not installed (`lodge check` names the "
                               "package)");
    }
    lodge_disks_choose_aio(&shape->guest,
                           lodge_qemu_does_io_uring(shape->program, store->run, TRUE));
    if (shape->guest.accel == LODGE_ACCEL_TCG) {
        return TRUE;
    }
    if (!lodge_kvm_verdict(store->run, FALSE, &verdict, error)) {
        return FALSE;
    }
    shape->kvm = verdict.state == LODGE_KVM_HARDWARE;
    return TRUE;
}

gboolean
parked_shape(const LodgeStore *store, const LodgeGuest *guest, const LodgeImage *image,
             ParkedShape *out_shape, GError **error)
{
    const char *reason = obstacle(guest, image);
    *out_shape = (ParkedShape)PARKED_SHAPE_NONE;
    out_shape->guest = *guest;
    if (reason != NULL) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED, "%s", reason);
    }
    const LodgeNic *nic = guest->nics->pdata[0];
    /* A tap's NIC can do more than one of a user-mode network: neither's state is the other's. */
    gboolean is_user = g_strcmp0(nic->network, LODGE_NETWORK_USER) == 0;
    out_shape->nic = (LodgeNic){.name = nic->name,
                                .network = (char *)LODGE_NETWORK_USER,
                                .mac = (char *)"52:54:00:00:00:00",
                                .model = nic->model};
    out_shape->nics = g_ptr_array_new();
    g_ptr_array_add(out_shape->nics, &out_shape->nic);
    out_shape->guest.nics = out_shape->nics;
    out_shape->guest.name = (char *)"parked";
    if (!find_qemu(store, out_shape, error)) {
        return FALSE;
    }
    if (!is_user) {
        out_shape->tap.link = (char *)"parked";
        out_shape->tap.vhost_fd = out_shape->kvm ? lodge_net_vhost() : -1;
    }
    out_shape->key = key_of(out_shape, image, error);
    return out_shape->key != NULL;
}

void
parked_shape_clear(ParkedShape *shape)
{
    lodge_fd_clear(&shape->tap.fd);
    lodge_fd_clear(&shape->tap.vhost_fd);
    g_clear_pointer(&shape->nics, g_ptr_array_unref);
    g_clear_pointer(&shape->program, g_free);
    g_clear_pointer(&shape->qemu, g_free);
    g_clear_pointer(&shape->key, g_free);
}

/* The machine's own disk, and the image's below. */
static GPtrArray *
chain_in(const char *folder, GError **error)
{
    g_autofree char *disk = g_build_filename(folder, LODGE_WARM_DISK, NULL);
    if (!g_str_equal(folder, "/")) {
        return lodge_disk_chain(disk, "qcow2", error);
    }
    GPtrArray *chain = g_ptr_array_new_with_free_func((GDestroyNotify)lodge_layer_free);
    for (guint i = 0; i < 2; i++) {
        LodgeLayer *layer = g_new0(LodgeLayer, 1);
        layer->path = g_strdup(disk);
        layer->format = g_strdup("qcow2");
        g_ptr_array_add(chain, layer);
    }
    return chain;
}

LodgeCommand *
parked_command(const ParkedShape *shape, const char *folder, int memory_fd, LodgeBegin begin,
               GError **error)
{
    GPtrArray *chain = chain_in(folder, error);
    if (chain == NULL) {
        return NULL;
    }
    g_autoptr(GPtrArray) chains = g_ptr_array_new_with_free_func((GDestroyNotify)g_ptr_array_unref);
    g_ptr_array_add(chains, chain);
    g_autofree char *seed = g_build_filename(folder, "seed.txt", NULL);
    g_autofree char *memory = g_build_filename(folder, LODGE_WARM_MEMORY, NULL);
    LodgeMachine machine = {
        .program = shape->program,
        .guest_folder = folder,
        .run_folder = folder,
        .kvm = shape->kvm,
        .seed_text = seed,
        .taps = shape->tap.link != NULL ? &shape->tap : NULL,
        .chains = chains,
        .begin = begin,
        .memory_use = LODGE_MEMORY_WRITTEN,
        .memory_file = memory,
        .memory_fd = memory_fd,
    };
    return lodge_qemu_command(&shape->guest, &machine, error);
}
