#include "config.h"

#include <stdio.h>

#include "cli/cli.h"
#include "cli/guest-view.h"
#include "ops/ops.h"

static char *option_os, *option_image, *option_disk, *option_cpus, *option_memory, *option_size;
static char *option_user, *option_password_file, *option_user_data, *option_firmware,
    *option_profile;
static char *option_accel, *option_description, *option_timeout;
static char **option_ssh_keys, **option_forwards, **option_networks;
static gboolean option_cold, option_no_start, option_no_wait, option_keep;

const GOptionEntry lodge_options_create[] = {
    {"os", 0, 0, G_OPTION_ARG_STRING, &option_os,
     "What runs in it: a name of `lodge image list`; built or fetched if it is not here", "NAME"},
    {"image", 0, 0, G_OPTION_ARG_STRING, &option_image, "An image that is here", "IMAGE"},
    {"disk", 0, 0, G_OPTION_ARG_FILENAME, &option_disk, "A disk of yours, used where it is",
     "FILE"},
    {"cpus", 0, 0, G_OPTION_ARG_STRING, &option_cpus, "Virtual CPUs", "N"},
    {"memory", 0, 0, G_OPTION_ARG_STRING, &option_memory, "Memory, like 512M or 4G", "SIZE"},
    {"size", 0, 0, G_OPTION_ARG_STRING, &option_size, "The disk's size, like 40G", "SIZE"},
    {"network", 0, 0, G_OPTION_ARG_STRING_ARRAY, &option_networks,
     "A network to put it on (`lodge network list`, or `user`); may be repeated, a NIC for each",
     "NETWORK"},
    {"forward", 0, 0, G_OPTION_ARG_STRING_ARRAY, &option_forwards,
     "A port of this host that reaches the guest, like 8080:80; may be repeated", "HOST:GUEST"},
    {"ssh-key", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &option_ssh_keys,
     "A public key to let in, instead of yours in ~/.ssh; may be repeated", "FILE"},
    {"user", 0, 0, G_OPTION_ARG_STRING, &option_user, "The login name to make in it", "NAME"},
    {"password-file", 0, 0, G_OPTION_ARG_FILENAME, &option_password_file,
     "A file whose first line becomes that user's password", "FILE"},
    {"user-data", 0, 0, G_OPTION_ARG_FILENAME, &option_user_data,
     "A cloud-init user-data file, for images that hold cloud-init", "FILE"},
    {"firmware", 0, 0, G_OPTION_ARG_STRING, &option_firmware, "bios or uefi", "WORD"},
    {"profile", 0, 0, G_OPTION_ARG_STRING, &option_profile,
     "What it can deal with: standard, legacy or windows", "WORD"},
    {"accel", 0, 0, G_OPTION_ARG_STRING, &option_accel, "auto, kvm or tcg", "WORD"},
    {"description", 0, 0, G_OPTION_ARG_STRING, &option_description, "Words of your own", "TEXT"},
    {"cold", 0, 0, G_OPTION_ARG_NONE, &option_cold,
     "Boot it, even if it could begin as a parked machine (`lodge image park`)", NULL},
    {"no-start", 0, 0, G_OPTION_ARG_NONE, &option_no_start, "Make it, but don't start it", NULL},
    {"no-wait", 0, 0, G_OPTION_ARG_NONE, &option_no_wait, "Don't wait until it answers", NULL},
    {"timeout", 0, 0, G_OPTION_ARG_STRING, &option_timeout,
     "How long it may take to answer (default 5m)", "TIME"},
    {"keep", 0, 0, G_OPTION_ARG_NONE, &option_keep,
     "Keep a guest that does not answer, to look into it", NULL},
    {NULL},
};

static void
say_created(const LodgeCli *cli, const char *name, gint64 time_ms)
{
    g_autofree char *time = lodge_duration_human(time_ms);
    if (option_no_start) {
        lodge_say(cli, "%s is made, in %s. Start it: lodge start %s", name, time, name);
    } else if (option_no_wait) {
        lodge_say(cli, "%s is started, in %s. See how far it is: lodge show %s", name, time, name);
    } else {
        g_autoptr(LodgeGuestState) state = lodge_store_state(cli->store, name);
        gboolean has_address = state->ssh_port != 0 && state->ssh_host != NULL;
        lodge_say(cli, "%s answers%s%s, after %s. Log in: lodge ssh %s", name,
                  has_address ? " at " : "", has_address ? state->ssh_host : "", time, name);
    }
}

gboolean
lodge_cmd_create(LodgeCli *cli, int argc, char **argv, GError **error)
{
    LodgeCreate what = {
        .name = argv[1],
        .os = option_os,
        .image = option_image,
        .disk = option_disk,
        .cpus = option_cpus,
        .memory = option_memory,
        .size = option_size,
        .firmware = option_firmware,
        .profile = option_profile,
        .accel = option_accel,
        .user = option_user,
        .description = option_description,
        .assignments = argc > 2 ? (const char *const *)argv + 2 : NULL,
        .forwards = (const char *const *)option_forwards,
        .networks = (const char *const *)option_networks,
        .ssh_keys = (const char *const *)option_ssh_keys,
        .password_file = option_password_file,
        .user_data = option_user_data,
        .start = !option_no_start,
        .wait = !option_no_wait,
        .cold = option_cold,
        .keep = option_keep,
    };
    if (!lodge_duration_parse(option_timeout != NULL ? option_timeout : "5m", &what.timeout_ms,
                              error)) {
        return lodge_error_prefix(error, "--timeout");
    }
    LodgeProgress *progress = lodge_cli_progress_new(cli);
    gboolean fine = lodge_create(cli->store, &what, progress, error);
    gint64 time_ms = lodge_cli_progress_end(progress, fine);
    if (!fine) {
        return FALSE;
    }
    if (cli->json) {
        return lodge_print_guest_json(cli, what.name, time_ms, error);
    }
    say_created(cli, what.name, time_ms);
    return TRUE;
}
