/* How a guest is shown: the same facts as a table's row, a page and JSON. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "cli/guest-view.h"

char *
lodge_view_state(const LodgeGuestState *state)
{
    if (state->job != NULL) {
        return g_strdup_printf("%s (%s)", lodge_state_word(state->state), state->job);
    }
    if (state->state == LODGE_STATE_CREATING) {
        return g_strdup("unfinished");
    }
    return g_strdup(lodge_state_word(state->state));
}

char *
lodge_view_uptime(const LodgeGuestState *state)
{
    if (!state->has_qemu || state->started_ms == 0) {
        return g_strdup("–");
    }
    gint64 seconds = g_get_real_time() / G_USEC_PER_SEC - state->started_ms / 1000;
    return seconds < 60 ? g_strdup_printf("%d s", (int)MAX(seconds, 0))
                        : lodge_duration_human(seconds * 1000);
}

static json_t *
disks_json(const LodgeGuest *guest, const LodgeStore *store)
{
    json_t *disks = json_array();
    for (guint i = 0; i < guest->disks->len; i++) {
        const LodgeDisk *disk = guest->disks->pdata[i];
        g_autofree char *path = g_path_is_absolute(disk->file)
                                    ? g_strdup(disk->file)
                                    : lodge_store_guest_path(store, guest->name, disk->file);
        json_array_append_new(disks,
                              json_pack("{s:s, s:s, s:I, s:I}", "name", disk->name, "file", path,
                                        "size_bytes", (json_int_t)disk->size_bytes,
                                        "allocated_bytes", (json_int_t)lodge_tree_allocated(path)));
    }
    return disks;
}

static json_t *
nics_json(const LodgeGuest *guest)
{
    json_t *nics = json_array();
    for (guint i = 0; i < guest->nics->len; i++) {
        const LodgeNic *nic = guest->nics->pdata[i];
        json_array_append_new(nics, json_pack("{s:s, s:s, s:s, s:o, s:o, s:o}", "name", nic->name,
                                              "network", nic->network, "mac", nic->mac, "address",
                                              lodge_json_string_or_null(nic->address), "address6",
                                              lodge_json_string_or_null(nic->address6), "forward",
                                              lodge_json_string_or_null(nic->forward)));
    }
    return nics;
}

const char *
lodge_view_agent(const LodgeGuestState *state)
{
    return state->inside != NULL ? ", lodge-agent there" : state->agent ? ", agent there" : "";
}

json_t *
lodge_view_state_json(const char *name, const LodgeGuestState *state)
{
    return json_pack("{s:s, s:s, s:o, s:b, s:b, s:O?, s:o, s:o, s:I, s:i, s:o, s:o, s:o}", "name",
                     name, "state", lodge_state_word(state->state), "reason",
                     lodge_json_string_or_null(state->reason), "keeper", state->has_keeper, "agent",
                     state->agent || state->inside != NULL, "inside", state->inside, "job",
                     lodge_json_string_or_null(state->job), "job_stage",
                     lodge_json_string_or_null(state->job_stage), "started_ms",
                     (json_int_t)state->started_ms, "pid", (int)state->qemu_pid, "ssh_port",
                     state->ssh_port != 0 ? json_integer(state->ssh_port) : json_null(), "ssh_host",
                     lodge_json_string_or_null(lodge_state_ssh_host(state)), "accel",
                     state->has_qemu ? json_string(state->is_kvm ? "kvm" : "tcg") : json_null());
}

json_t *
lodge_view_json(const LodgeGuest *guest, const LodgeGuestState *state, const LodgeStore *store)
{
    json_t *value = lodge_view_state_json(guest->name, state);
    const LodgeSection *section = lodge_guest_sections();
    json_object_set_new(value, "cpus", json_integer(guest->cpus));
    json_object_set_new(value, "memory_bytes", json_integer((json_int_t)guest->memory_bytes));
    static const char *const texts[] = {"os", "image", "user", "description", "cpu", "on-crash"};
    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autofree char *text = lodge_schema_format(lodge_section_key(section, texts[i]), guest);
        json_object_set_new(value, texts[i], lodge_json_string_or_null(text));
    }
    json_object_set_new(value, "firmware",
                        json_string(lodge_guest_is_uefi(guest) ? "uefi" : "bios"));
    json_object_set_new(value, "autostart", json_boolean(guest->autostart));
    json_object_set_new(value, "disks", disks_json(guest, store));
    json_object_set_new(value, "nics", nics_json(guest));
    return value;
}

gboolean
lodge_print_guest_json(const LodgeCli *cli, const char *name, gint64 time_ms, GError **error)
{
    g_autoptr(LodgeGuest) guest = lodge_store_guest(cli->store, name, error);
    if (guest == NULL) {
        return FALSE;
    }
    g_autoptr(LodgeGuestState) state = lodge_store_state(cli->store, name);
    json_t *value = lodge_view_json(guest, state, cli->store);
    if (time_ms >= 0) {
        json_object_set_new(value, "took_ms", json_integer(time_ms));
    }
    lodge_print_json(value);
    return TRUE;
}
