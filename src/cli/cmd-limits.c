/* limits: what a guest may take, what it took, and how often it was held back. */
#include "config.h"

#include <stdio.h>

#include "cli/cli.h"
#include "ops/ops.h"

enum {
    LIMITS = 5,
};

static char *option_values[LIMITS];
static char *option_memory;

const GOptionEntry lodge_options_limits[] = {
    {"cpu", 0, 0, G_OPTION_ARG_STRING, &option_values[0],
     "CPU time at most, 150% is one and a half of the host's CPUs; 0: no limit", "PERCENT"},
    {"cpu-weight", 0, 0, G_OPTION_ARG_STRING, &option_values[1],
     "Its share of the CPUs beside other guests, 1 to 10000 (usual 100)", "N"},
    {"memory-max", 0, 0, G_OPTION_ARG_STRING, &option_values[2],
     "Memory that its QEMU may take from the host; 0: no limit", "SIZE"},
    {"io-weight", 0, 0, G_OPTION_ARG_STRING, &option_values[3],
     "Its share of the disks beside other guests, 1 to 10000 (usual 100)", "N"},
    {"pids-max", 0, 0, G_OPTION_ARG_STRING, &option_values[4],
     "Threads that its QEMU may have; 0: no limit", "N"},
    {"memory", 0, 0, G_OPTION_ARG_STRING, &option_memory,
     "Memory that it has from now on, until it stops: the rest is taken back by its balloon",
     "SIZE"},
    {NULL},
};

static const struct {
    const char *key;  /* in the definition */
    const char *json; /* in the report */
    enum { PERCENT, COUNT, WEIGHT, SIZE } kind;
} rows[LIMITS] = {
    {"cpu", "cpu_percent", PERCENT},          {"cpu-weight", "cpu_weight", WEIGHT},
    {"memory-max", "memory_max_bytes", SIZE}, {"io-weight", "io_weight", WEIGHT},
    {"pids-max", "pids_max", COUNT},
};

static char *
words(const json_t *values, gsize row)
{
    const json_t *value = json_object_get(values, rows[row].json);
    json_int_t number = json_integer_value(value);
    if (!json_is_integer(value)) {
        return g_strdup("–");
    }
    if (number == 0) {
        return g_strdup("none");
    }
    switch (rows[row].kind) {
    case PERCENT:
        return g_strdup_printf("%d%%", (int)number);
    case SIZE:
        return lodge_size_format((guint64)number);
    case COUNT:
    case WEIGHT:
        break;
    }
    return g_strdup_printf("%" JSON_INTEGER_FORMAT, number);
}

static void
add_disk(LodgeTable *table, const json_t *disk)
{
    static const struct {
        const char *json;
        const char *title;
        gboolean is_size;
    } kinds[] = {
        {"iops", "iops", FALSE},
        {"iops_read", "iops-read", FALSE},
        {"iops_write", "iops-write", FALSE},
        {"bytes", "bytes", TRUE},
        {"bytes_read", "bytes-read", TRUE},
        {"bytes_write", "bytes-write", TRUE},
    };
    const json_t *sides[] = {json_object_get(disk, "asked"), json_object_get(disk, "holds")};
    for (gsize i = 0; i < G_N_ELEMENTS(kinds); i++) {
        char *cells[3] = {NULL};
        json_int_t numbers[2] = {0};
        for (gsize k = 0; k < 2; k++) {
            numbers[k] = lodge_json_int(sides[k], kinds[i].json, 0);
            cells[k + 1] = !json_is_object(sides[k]) ? g_strdup("–")
                           : numbers[k] == 0         ? g_strdup("none")
                           : kinds[i].is_size
                               ? lodge_size_format((guint64)numbers[k])
                               : g_strdup_printf("%" JSON_INTEGER_FORMAT, numbers[k]);
        }
        cells[0] = g_strdup_printf("disk %s %s", lodge_json_string(disk, "name", "?"),
                                   kinds[i].title);
        if (numbers[0] != 0 || numbers[1] != 0) {
            lodge_table_add(table, (const char *const *)cells);
        }
        for (gsize k = 0; k < G_N_ELEMENTS(cells); k++) {
            g_free(cells[k]);
        }
    }
}

static void
print_throttled(const json_t *throttled)
{
    json_int_t hits = lodge_json_int(throttled, "memory_limit_hits", 0);
    json_int_t kills = lodge_json_int(throttled, "memory_oom_kills", 0);
    json_int_t memory = lodge_json_int(throttled, "memory_bytes", -1);
    g_autofree char *used = lodge_duration_human(lodge_json_int(throttled, "cpu_used_us", 0) /
                                                 1000);
    g_autofree char *held = lodge_duration_human(lodge_json_int(throttled, "cpu_throttled_us", 0) /
                                                 1000);
    g_autofree char *size = lodge_size_human((guint64)MAX(memory, 0));
    printf("\nCPU time used %s; held back in %" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT
           " periods of 0.1 s, %s in all.\n",
           used, lodge_json_int(throttled, "cpu_throttled", 0),
           lodge_json_int(throttled, "cpu_periods", 0), held);
    if (memory >= 0) {
        printf("Memory of QEMU %s; came to its limit %" JSON_INTEGER_FORMAT " time%s%s.\n", size,
               hits, hits == 1 ? "" : "s", kills > 0 ? ", and was ended by the kernel for it" : "");
    }
}

static void
print_report(const LodgeCli *cli, const json_t *report)
{
    static const char *const titles[] = {"LIMIT", "ASKED>", "HOLDS>", NULL};
    g_autoptr(LodgeTable) table = lodge_table_new(titles);
    gboolean runs = lodge_json_bool(report, "running", FALSE);
    for (gsize i = 0; i < LIMITS; i++) {
        g_autofree char *asked = words(json_object_get(report, "asked"), i);
        g_autofree char *holds = words(json_object_get(report, "holds"), i);
        const char *cells[] = {rows[i].key, asked, holds};
        lodge_table_add(table, cells);
    }
    gsize index;
    const json_t *disk;
    json_array_foreach (json_object_get(report, "disks"), index, disk) {
        add_disk(table, disk);
    }
    lodge_table_print(table, cli);
    const json_t *throttled = json_object_get(report, "throttled");
    const char *name = lodge_json_string(report, "name", "");
    if (json_is_object(throttled)) {
        print_throttled(throttled);
    } else if (runs) {
        printf("\nNo limits hold: %s.\n",
               lodge_json_string(report, "reason", "it was started without a control group"));
    } else {
        printf("\n%s does not run: limits hold when it does.\n", name);
    }
    json_int_t memory = lodge_json_int(report, "memory_now_bytes", 0);
    if (memory != 0) {
        g_autofree char *now = lodge_size_human((guint64)memory);
        g_autofree char *defined = lodge_size_human(
            (guint64)lodge_json_int(report, "memory_bytes", 0));
        printf("The guest has %s of memory now; its definition says %s.\n", now, defined);
    }
    const char *unasked = lodge_json_string(report, "unasked", NULL);
    if (unasked != NULL) {
        lodge_say(cli, "lodge: what QEMU limits is not known: %s", unasked);
    }
}

gboolean
lodge_cmd_limits(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    LodgeLimitsChange changes[LIMITS + 1] = {{NULL, NULL}};
    gsize count = 0;
    for (gsize i = 0; i < LIMITS; i++) {
        if (option_values[i] != NULL) {
            changes[count++] = (LodgeLimitsChange){rows[i].key, option_values[i]};
        }
    }
    if ((count > 0 && !lodge_limits_set(cli->store, argv[1], changes, error)) ||
        (option_memory != NULL && !lodge_memory_now(cli->store, argv[1], option_memory, error))) {
        return FALSE;
    }
    if ((count > 0 || option_memory != NULL) && !cli->json) {
        return TRUE;
    }
    json_t *report = lodge_limits_report(cli->store, argv[1], error);
    if (report != NULL && cli->json) {
        lodge_print_json(report);
    } else if (report != NULL) {
        print_report(cli, report);
        json_decref(report);
    }
    return report != NULL;
}
