#include "config.h"

#include <stdio.h>

#include "cli/guest-view.h"
#include "ops/set.h"

static gboolean option_definition;

const GOptionEntry lodge_options_show[] = {
    {"definition", 0, 0, G_OPTION_ARG_NONE, &option_definition, "Print the definition's file",
     NULL},
    {NULL},
};

static void
print_fact(const LodgeCli *cli, const char *title, const char *text)
{
    g_autofree char *padded = g_strdup_printf("%-12s", title);
    g_autofree char *shown = lodge_colour(cli->colour_out, "dim", padded);
    g_autofree char *printable = lodge_text_printable(text);
    printf("  %s %s\n", shown, printable);
}

static void
print_state(const LodgeCli *cli, const LodgeGuest *guest, const LodgeGuestState *state)
{
    g_autofree char *words = lodge_view_state(state);
    g_autofree char *uptime = lodge_view_uptime(state);
    g_autofree char *line = state->has_qemu
                                ? g_strdup_printf("%s for %s, %s, process %d%s", words, uptime,
                                                  state->is_kvm ? "by KVM" : "emulated",
                                                  (int)state->qemu_pid, lodge_view_agent(state))
                                : g_strdup(words);
    print_fact(cli, "state", line);
    if (state->reason != NULL) {
        print_fact(cli, "because", state->reason);
    }
    if (state->job_stage != NULL) {
        print_fact(cli, "at work", state->job_stage);
    }
    if (state->ssh_port != 0) {
        g_autofree char *way = g_strdup_printf("lodge ssh %s   (%s@%s port %u)", guest->name,
                                               guest->user, lodge_state_ssh_host(state),
                                               state->ssh_port);
        print_fact(cli, "enter", way);
    }
}

/* What the guest's own agent says: its system may be another than its definition thinks. */
static void
print_inside(const LodgeCli *cli, const LodgeGuestState *state)
{
    g_autoptr(GString) line = g_string_new(NULL);
    static const char *const keys[] = {"hostname", "os", "kernel"};
    for (gsize i = 0; i < G_N_ELEMENTS(keys); i++) {
        const char *text = lodge_json_string(state->inside, keys[i], NULL);
        if (text != NULL) {
            g_string_append_printf(line, "%s%s", line->len > 0 ? ", " : "", text);
        }
    }
    if (line->len > 0) {
        print_fact(cli, "inside", line->str);
    }
}

static void
print_addresses(const LodgeCli *cli, const LodgeGuestState *state, const char *mac)
{
    gsize index;
    json_t *nic;
    json_array_foreach (json_object_get(state->inside, "nics"), index, nic) {
        const json_t *addresses = json_object_get(nic, "addresses");
        if (g_ascii_strcasecmp(lodge_json_string(nic, "mac", ""), mac) != 0 ||
            json_array_size(addresses) == 0) {
            continue;
        }
        g_autoptr(GString) line = g_string_new(NULL);
        g_string_append_printf(line, "%s:", lodge_json_string(nic, "name", "?"));
        gsize place;
        json_t *address;
        json_array_foreach (addresses, place, address) {
            const char *text = json_string_value(address);
            g_string_append_printf(line, " %s", text != NULL ? text : "?");
        }
        print_fact(cli, "", line->str);
    }
}

static void
print_machine(const LodgeCli *cli, const LodgeGuest *guest)
{
    g_autofree char *memory = lodge_size_human(guest->memory_bytes);
    g_autofree char *machine = g_strdup_printf(
        "%u CPU%s, %s, %s%s", guest->cpus, guest->cpus == 1 ? "" : "s", memory,
        lodge_guest_is_uefi(guest) ? "UEFI" : "BIOS",
        guest->kernel != NULL ? " (kernel booted directly)" : "");
    if (guest->description != NULL) {
        print_fact(cli, "description", guest->description);
    }
    if (guest->os != NULL || guest->image != NULL) {
        print_fact(cli, "system", guest->os != NULL ? guest->os : guest->image);
    }
    print_fact(cli, "machine", machine);
}

static void
print_devices(const LodgeCli *cli, const LodgeGuest *guest, const LodgeGuestState *state)
{
    for (guint i = 0; i < guest->disks->len; i++) {
        const LodgeDisk *disk = guest->disks->pdata[i];
        g_autofree char *path = g_path_is_absolute(disk->file)
                                    ? g_strdup(disk->file)
                                    : lodge_store_guest_path(cli->store, guest->name, disk->file);
        g_autofree char *size = lodge_size_human(disk->size_bytes);
        g_autofree char *used = lodge_size_human(lodge_tree_allocated(path));
        g_autofree char *title = g_strdup_printf("disk %s", disk->name);
        g_autofree char *line = disk->size_bytes != 0
                                    ? g_strdup_printf("%s, %s used, %s", size, used, path)
                                    : g_strdup_printf("%s used, %s", used, path);
        print_fact(cli, title, line);
    }
    for (guint i = 0; i < guest->nics->len; i++) {
        const LodgeNic *nic = guest->nics->pdata[i];
        g_autofree char *title = g_strdup_printf("nic %s", nic->name);
        const char *const parts[][2] = {
            {", ", nic->address}, {", ", nic->address6}, {", forwards ", nic->forward}};
        g_autoptr(GString) text = g_string_new(NULL);
        g_string_append_printf(text, "network %s, %s", nic->network, nic->mac);
        for (gsize p = 0; p < G_N_ELEMENTS(parts); p++) {
            if (parts[p][1] != NULL) {
                g_string_append_printf(text, "%s%s", parts[p][0], parts[p][1]);
            }
        }
        print_fact(cli, title, text->str);
        print_addresses(cli, state, nic->mac);
    }
}

static void
print_pending(const LodgeCli *cli, const char *name)
{
    g_autoptr(GPtrArray) changes = lodge_pending(cli->store, name, NULL);
    for (guint i = 0; changes != NULL && i < changes->len; i++) {
        const LodgeChange *change = changes->pdata[i];
        g_autofree char *line = g_strdup_printf("%s=%s, from its next start", change->key,
                                                change->fresh != NULL ? change->fresh
                                                                      : "(default)");
        print_fact(cli, i == 0 ? "pending" : "", line);
    }
}

static gboolean
print_definition(const LodgeCli *cli, const char *name, GError **error)
{
    g_autofree char *text = NULL;
    g_autoptr(LodgeGuest) guest = lodge_store_guest(cli->store, name, error);
    g_autoptr(GKeyFile)
        file = guest != NULL ? lodge_store_guest_file(cli->store, name, &text, error) : NULL;
    if (file != NULL) {
        fputs(text, stdout);
    }
    return file != NULL;
}

gboolean
lodge_cmd_show(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    if (option_definition) {
        return print_definition(cli, argv[1], error);
    }
    if (cli->json) {
        return lodge_print_guest_json(cli, argv[1], -1, error);
    }
    g_autoptr(LodgeGuest) guest = lodge_store_guest(cli->store, argv[1], error);
    if (guest == NULL) {
        return FALSE;
    }
    g_autoptr(LodgeGuestState) state = lodge_store_state(cli->store, guest->name);
    g_autofree char *name = lodge_colour(cli->colour_out, "bold", guest->name);
    g_autofree char *folder = lodge_store_guest_path(cli->store, guest->name, "guest.conf");
    puts(name);
    print_state(cli, guest, state);
    print_machine(cli, guest);
    print_inside(cli, state);
    print_devices(cli, guest, state);
    print_pending(cli, guest->name);
    print_fact(cli, "definition", folder);
    return TRUE;
}
