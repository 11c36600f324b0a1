#include "config.h"

#include "keeper/plan.h"

#include "base/base.h"
#include "host/check.h"
#include "host/host.h"
#include "keeper/chain.h"
#include "keeper/keeper.h"
#include "keeper/nics.h"
#include "keeper/pin.h"
#include "keeper/ports.h"
#include "qemu/disks.h"
#include "qemu/qcow2.h"
#include "qemu/variables.h"

enum { SSH_PORT = 22, LAYOUT_LIMIT_BYTES = 64 << 10 };

/* Emulated guests have AMD's virtualization emulated too; under KVM the kernel has to allow it. */
static gboolean
check_nested(const LodgeGuest *guest, GError **error)
{
    g_autofree char *obstacle = guest->nested ? lodge_nested_obstacle("") : NULL;
    return obstacle == NULL ||
           lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                           "nested=yes can't be had here: %s; or set nested=no", obstacle);
}

/* KVM or not, by the verdict of a guest that really ran, and by what the definition wants. */
static gboolean
choose_accel(const LodgeStore *store, const LodgeGuest *guest, gboolean *out_kvm, GError **error)
{
    LodgeKvmVerdict verdict;
    *out_kvm = FALSE;
    if (guest->accel == LODGE_ACCEL_TCG) {
        return TRUE;
    }
    if (!lodge_kvm_verdict(store->run, FALSE, &verdict, error)) {
        return FALSE;
    }
    *out_kvm = verdict.state == LODGE_KVM_HARDWARE;
    if (guest->accel == LODGE_ACCEL_KVM && !*out_kvm) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "accel=kvm, but KVM is %s here: %s (accel=auto takes what works)",
                               lodge_kvm_state_word(verdict.state), verdict.reason);
    }
    return !*out_kvm || check_nested(guest, error);
}

static char *
absolute(const char *folder, const char *file)
{
    return g_path_is_absolute(file) || lodge_disk_is_remote(file)
               ? g_strdup(file)
               : g_build_filename(folder, file, NULL);
}

static GPtrArray *
chains_of(const LodgeStore *store, const LodgeGuest *guest, GError **error)
{
    g_autoptr(GPtrArray) chains = g_ptr_array_new_with_free_func((GDestroyNotify)g_ptr_array_unref);
    for (guint i = 0; i < guest->disks->len; i++) {
        const LodgeDisk *disk = guest->disks->pdata[i];
        GPtrArray *chain = lodge_guest_chain(store, guest, disk->file, disk->format, error);
        if (chain == NULL) {
            lodge_error_prefix(error, "disk %s", disk->name);
            return NULL;
        }
        g_ptr_array_add(chains, chain);
    }
    return g_steal_pointer(&chains);
}

static gboolean
choose_ports(LodgePlan *plan, const LodgeGuest *guest, const char *folder, GError **error)
{
    for (guint i = 0; i < guest->nics->len; i++) {
        const LodgeNic *nic = guest->nics->pdata[i];
        if (g_strcmp0(nic->network, "user") == 0 && !lodge_ports_check(nic, error)) {
            return FALSE;
        }
    }
    if (guest->nics->len == 0) {
        return TRUE;
    }
    const LodgeNic *first = guest->nics->pdata[0];
    if (g_strcmp0(first->network, "user") != 0) {
        return TRUE; /* see lodge_plan_find_host() */
    }
    plan->ssh_port = first->ssh_port != 0
                         ? first->ssh_port
                         : lodge_port_choose(folder, &plan->port_reservation, error);
    return plan->ssh_port != 0;
}

gboolean
lodge_plan_find_host(const LodgeStore *store, const LodgeGuest *guest, char **host, guint *port)
{
    const LodgeNic *first = guest->nics->len > 0 ? guest->nics->pdata[0] : NULL;
    if (first == NULL || g_str_equal(first->network, "user")) {
        return FALSE;
    }
    g_free(*host);
    *host = lodge_nics_address(store, guest);
    *port = *host != NULL ? SSH_PORT : 0;
    return TRUE;
}

static char *
existing(const char *folder, const char *name)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    return g_file_test(path, G_FILE_TEST_EXISTS) ? g_steal_pointer(&path) : NULL;
}

/* QEMU's program, and its version; NULL: UNSUPPORTED. Free both with g_free. */
static char *
find_program(const LodgeStore *store, char **out_version, GError **error)
{
    g_autofree char *program = lodge_program_find("qemu-system-x86_64");
    if (program == NULL) {
        lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                        "qemu-system-x86_64 is not installed (`lodge check` names the package)");
        return NULL;
    }
    *out_version = lodge_qemu_version(program, store->run);
    if (*out_version != NULL && !lodge_qemu_is_at_least(*out_version, LODGE_QEMU_LEAST)) {
        lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                        "%s is QEMU %s, and Lodge needs %s or later (upgrade it, or the "
                        "distribution)",
                        program, *out_version, LODGE_QEMU_LEAST);
        return NULL;
    }
    return g_steal_pointer(&program);
}

/* What a command left of it that was killed before counts for no other start. Free with g_free. */
static char *
take_layout(const LodgeStore *store, const char *guest, LodgeBegin begin)
{
    g_autofree char *word = lodge_store_run_path(store, guest, LODGE_KEEPER_LAYOUT);
    g_autofree char *layout = lodge_file_read(word, LAYOUT_LIMIT_BYTES, NULL, NULL);
    unlink(word);
    return begin == LODGE_BEGIN_INCOMING ? g_steal_pointer(&layout) : NULL;
}

LodgePlan *
lodge_plan_make(const LodgeStore *store, LodgeGuest *guest, LodgeBegin begin, int tpm_fd,
                Passts *passts, GError **error)
{
    g_autoptr(LodgePlan) plan = g_new0(LodgePlan, 1);
    plan->port_reservation = -1;
    plan->memory = KEEPER_MEMORY_NONE;
    g_autofree char *folder = lodge_store_guest_path(store, guest->name, NULL);
    g_autofree char *run_folder = lodge_store_run_path(store, guest->name, NULL);
    g_autofree char *version = NULL;
    g_autofree char *program = find_program(store, &version, error);
    if (program == NULL) {
        return NULL;
    }
    lodge_disks_choose_aio(guest, lodge_qemu_does_io_uring(program, store->run, TRUE));
    g_autoptr(GPtrArray) chains = chains_of(store, guest, error);
    if (chains == NULL || !lodge_pin_check(guest, error) ||
        !choose_accel(store, guest, &plan->kvm, error) ||
        !choose_ports(plan, guest, folder, error) ||
        !keeper_memory_open(store, guest->name, version, &plan->memory, error)) {
        return NULL;
    }
    g_autoptr(LodgeFirmware) firmware = NULL;
    g_autofree char *firmware_vars = absolute(folder, guest->variables);
    if (lodge_guest_is_uefi(guest)) {
        firmware = lodge_firmware_for(guest, error);
        if (firmware == NULL || !lodge_variables_make(guest, firmware_vars, error)) {
            return NULL;
        }
    }
    plan->tap_count = guest->nics->len;
    plan->taps = lodge_taps_open(store, guest, plan->kvm, error);
    if (plan->taps == NULL) {
        return NULL;
    }
    lodge_plan_find_host(store, guest, &plan->ssh_host, &plan->ssh_port);
    g_autofree char *own_path = g_build_filename(run_folder, LODGE_KEEPER_OWN_NETWORK, NULL);
    if (begin != LODGE_BEGIN_INCOMING || !g_file_test(own_path, G_FILE_TEST_EXISTS)) {
        passts_begin(passts, guest, plan->ssh_port, plan->taps);
    }
    g_autofree char *layout = take_layout(store, guest->name, begin);
    g_autofree char *seed_text = existing(folder, "seed.txt");
    g_autofree char *seed_disk = existing(folder, "seed.iso");
    LodgeMachine machine = {
        .program = program,
        .guest_folder = folder,
        .run_folder = run_folder,
        .kvm = plan->kvm,
        .ssh_port = plan->ssh_port,
        .firmware_code = firmware != NULL ? firmware->code : NULL,
        .firmware_vars = firmware_vars,
        .seed_text = guest->provision == LODGE_PROVISION_LODGE ? seed_text : NULL,
        .seed_disk = guest->provision == LODGE_PROVISION_NOCLOUD ? seed_disk : NULL,
        .taps = plan->taps,
        .tpm_fd = tpm_fd,
        .chains = chains,
        .begin = begin,
        .layout = layout,
        .memory_use = plan->memory.use,
        .memory_file = plan->memory.file,
        .memory_fd = plan->memory.fd,
    };
    plan->command = lodge_qemu_command(guest, &machine, error);
    return plan->command != NULL ? g_steal_pointer(&plan) : NULL;
}

void
lodge_plan_free(LodgePlan *plan)
{
    if (plan != NULL) {
        lodge_command_free(plan->command);
        lodge_fd_clear(&plan->port_reservation);
        keeper_memory_clear(&plan->memory);
        lodge_taps_free(plan->taps, plan->tap_count);
        g_free(plan->ssh_host);
        g_free(plan);
    }
}
