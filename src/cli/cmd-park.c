#include "config.h"

#include <stdio.h>

#include "cli/cli.h"
#include "cli/park-view.h"
#include "image/warm.h"
#include "ops/park.h"

static char *option_cpus, *option_memory, *option_accel, *option_network;
static gboolean option_again;

const GOptionEntry lodge_options_image_park[] = {
    {"cpus", 0, 0, G_OPTION_ARG_STRING, &option_cpus, "Virtual CPUs, if not the image's default",
     "N"},
    {"memory", 0, 0, G_OPTION_ARG_STRING, &option_memory, "Memory, if not the image's default",
     "SIZE"},
    {"accel", 0, 0, G_OPTION_ARG_STRING, &option_accel, "auto, kvm or tcg", "WORD"},
    {"network", 0, 0, G_OPTION_ARG_STRING, &option_network,
     "For guests on `user`, or on any other network (as root, the default)", "NAME"},
    {"again", 0, 0, G_OPTION_ARG_NONE, &option_again,
     "Even if a machine of that shape is parked already, which it replaces", NULL},
    {NULL},
};

json_t *
lodge_parked_json(const LodgeStore *store, const char *image)
{
    json_t *list = json_array();
    g_autoptr(GPtrArray) all = lodge_warm_list(store, image);
    for (guint i = 0; i < all->len; i++) {
        const LodgeWarm *warm = all->pdata[i];
        json_array_append_new(
            list, json_pack("{s:i, s:I, s:b, s:b, s:s, s:s, s:s, s:I}", "cpus", (int)warm->cpus,
                            "memory_bytes", (json_int_t)warm->memory_bytes, "kvm", warm->kvm, "tap",
                            warm->tap, "qemu", warm->qemu, "made", warm->made, "key", warm->key,
                            "allocated_bytes", (json_int_t)warm->allocated_bytes));
    }
    return list;
}

void
lodge_parked_print(const LodgeStore *store, const char *image)
{
    g_autoptr(GPtrArray) all = lodge_warm_list(store, image);
    for (guint i = 0; i < all->len; i++) {
        const LodgeWarm *warm = all->pdata[i];
        g_autofree char *memory = lodge_size_human(warm->memory_bytes);
        g_autofree char *size = lodge_size_human(warm->allocated_bytes);
        g_autofree char *made = lodge_time_shown(warm->made);
        printf("  %-18s %u CPU%s, %s%s%s; takes %s; QEMU %s; %s\n", i == 0 ? "parked" : "",
               warm->cpus, warm->cpus == 1 ? "" : "s", memory, warm->kvm ? "" : ", emulated",
               warm->tap ? "" : ", network user", size, warm->qemu, made);
    }
}

gboolean
lodge_cmd_image_park(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    const LodgePark what = {.image = argv[1],
                            .cpus = option_cpus,
                            .memory = option_memory,
                            .accel = option_accel,
                            .network = option_network,
                            .again = option_again};
    LodgeProgress *progress = lodge_cli_progress_new(cli);
    gboolean fine = lodge_park(cli->store, &what, progress, error);
    gint64 time_ms = lodge_cli_progress_end(progress, fine);
    if (!fine) {
        return FALSE;
    }
    if (cli->json) {
        lodge_print_json(json_pack("{s:s, s:o, s:I}", "name", argv[1], "parked",
                                   lodge_parked_json(cli->store, argv[1]), "took_ms",
                                   (json_int_t)time_ms));
        return TRUE;
    }
    g_autofree char *time = lodge_duration_human(time_ms);
    lodge_say(cli, "Image %s is parked, after %s: guests of that shape are there at once. %s",
              argv[1], time, "Make one: lodge create NAME --os …");
    return TRUE;
}

gboolean
lodge_cmd_image_unpark(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    guint count = 0;
    if (!lodge_unpark(cli->store, argv[1], &count, error)) {
        return FALSE;
    }
    if (cli->json) {
        lodge_print_json(json_pack("{s:s, s:i}", "name", argv[1], "dropped", (int)count));
    } else {
        lodge_say(cli,
                  count == 0 ? "Nothing of image %s is parked." : "Image %s is parked no more.",
                  argv[1]);
    }
    return TRUE;
}
