/* host ksm: equal pages of guests kept once. */
#include "config.h"

#include <stdio.h>

#include "cli/cli.h"
#include "host/ksm.h"

/* Guests that run. Their keepers are told to look: under `auto` one of them goes on deciding. */
static guint
count_guests(const LodgeStore *store, gboolean tell)
{
    guint count = 0;
    g_auto(GStrv) names = lodge_store_guests(store, NULL);
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        g_autofree char *lock = lodge_store_run_path(store, names[i], "qemu.lock");
        if (lodge_lock_is_held(lock)) {
            count++;
            if (tell) {
                lodge_store_watch(store, names[i]);
            }
        }
    }
    return count;
}

static json_t *
ksm_json(LodgeKsmMode mode, const LodgeKsm *ksm, const LodgeMemory *memory, guint guests)
{
    return json_pack(
        "{s:b, s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:i}", "available", ksm->available,
        "mode", lodge_ksm_mode_word(mode), "running", ksm->running, "pages_shared",
        (json_int_t)ksm->pages_shared, "pages_sharing", (json_int_t)ksm->pages_sharing,
        "saved_bytes", (json_int_t)ksm->saved_bytes, "pages_to_scan",
        (json_int_t)ksm->pages_to_scan, "memory_total_bytes", (json_int_t)memory->total_bytes,
        "memory_available_bytes", (json_int_t)memory->available_bytes, "memory_pressure_percent",
        memory->pressure >= 0 ? json_real(memory->pressure) : json_null(), "guests", (int)guests);
}

static void
print_ksm(LodgeKsmMode mode, const LodgeKsm *ksm, const LodgeMemory *memory)
{
    g_autofree char *saved = lodge_size_human(ksm->saved_bytes);
    g_autofree char *available = lodge_size_human(memory->available_bytes);
    g_autofree char *total = lodge_size_human(memory->total_bytes);
    if (!ksm->available) {
        puts("This kernel can't merge equal pages.");
        return;
    }
    printf("Equal pages of guests are %smerged (asked for: %s).\n", ksm->running ? "" : "not ",
           lodge_ksm_mode_word(mode));
    printf("Saved: %s (%" G_GUINT64_FORMAT " pages, kept as %" G_GUINT64_FORMAT ").\n", saved,
           ksm->pages_sharing, ksm->pages_shared);
    printf("Memory of this host: %s available of %s.\n", available, total);
}

gboolean
lodge_cmd_host_ksm(LodgeCli *cli, int argc, char **argv, GError **error)
{
    const char *word = argc > 1 ? argv[1] : "status";
    LodgeKsmMode mode = LODGE_KSM_OFF;
    if (!g_str_equal(word, "status")) {
        if (!lodge_ksm_mode_from_word(word, &mode, error) ||
            !lodge_ksm_set("", cli->store->root, mode, count_guests(cli->store, FALSE), error)) {
            return lodge_error_prefix(error, "host ksm");
        }
        count_guests(cli->store, TRUE);
    }
    LodgeKsm ksm;
    LodgeMemory memory;
    lodge_ksm_read("", &ksm);
    lodge_memory_read("", &memory);
    mode = lodge_ksm_mode(cli->store->root);
    if (cli->json) {
        lodge_print_json(ksm_json(mode, &ksm, &memory, count_guests(cli->store, FALSE)));
    } else {
        print_ksm(mode, &ksm, &memory);
    }
    return TRUE;
}
