/* lodge-top: what `lodge top` becomes. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "top/print.h"
#include "top/sample.h"
#include "top/screen.h"

static gboolean option_batch, option_json, option_csv;
static int option_iterations;
static char *option_interval, *option_sort, *option_program;

static const GOptionEntry entries[] = {
    {"batch", 0, 0, G_OPTION_ARG_NONE, &option_batch, NULL, NULL},
    {"json", 0, 0, G_OPTION_ARG_NONE, &option_json, NULL, NULL},
    {"csv", 0, 0, G_OPTION_ARG_NONE, &option_csv, NULL, NULL},
    {"iterations", 0, 0, G_OPTION_ARG_INT, &option_iterations, NULL, NULL},
    {"interval", 0, 0, G_OPTION_ARG_STRING, &option_interval, NULL, NULL},
    {"sort", 0, 0, G_OPTION_ARG_STRING, &option_sort, NULL, NULL},
    {"program", 0, 0, G_OPTION_ARG_STRING, &option_program, NULL, NULL},
    {NULL},
};

static void
print_json(const TopSample *sample, gboolean is_one)
{
    g_autoptr(json_t) value = top_json(sample);
    char *text = json_dumps(value,
                            (is_one ? JSON_INDENT(2) : JSON_COMPACT) | JSON_REAL_PRECISION(12));
    puts(text != NULL ? text : "null");
    fflush(stdout);
    free(text);
}

/* Print samples; with more than one the first is what was since each guest's start. */
static gboolean
print_batch(const LodgeStore *store, const char *const *names, gint64 interval_ms, GError **error)
{
    g_autoptr(TopSample) last = NULL;
    int count = option_iterations > 0 ? option_iterations : 1;
    for (int i = 0; i < count; i++) {
        if (i > 0 && !lodge_wait_for(interval_ms, error)) {
            return FALSE;
        }
        TopSample *sample = top_sample(store, names, last, error);
        if (sample == NULL) {
            return FALSE;
        }
        top_sample_free(last);
        last = sample;
        top_sort(sample->guests, option_sort, FALSE);
        if (option_json) {
            print_json(sample, count == 1);
        } else if (option_csv) {
            top_print_csv(sample, i == 0);
        } else {
            top_print_table(sample);
        }
    }
    return TRUE;
}

static gboolean
check_names(const LodgeStore *store, const char *const *names, GError **error)
{
    for (gsize i = 0; names[i] != NULL; i++) {
        g_autoptr(LodgeGuest) guest = lodge_store_guest(store, names[i], error);
        if (guest == NULL && !g_error_matches(*error, LODGE_ERROR, LODGE_ERROR_INVALID)) {
            return FALSE;
        }
        g_clear_error(error);
    }
    return TRUE;
}

static gboolean
run(int argc, char **argv, GError **error)
{
    gint64 interval_ms = 0;
    g_autoptr(GOptionContext) context = g_option_context_new("");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, error)) {
        return FALSE;
    }
    option_sort = option_sort != NULL ? option_sort : g_strdup("cpu");
    g_autoptr(GPtrArray) none = g_ptr_array_new();
    if (!top_sort(none, option_sort, FALSE)) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "top: --sort: “%s” is not one of cpu, memory, disk, net, uptime, "
                               "state, name",
                               option_sort);
    }
    if (!lodge_duration_parse(option_interval != NULL ? option_interval : "2s", &interval_ms,
                              error)) {
        return lodge_error_prefix(error, "top: --interval");
    }
    interval_ms = MAX(interval_ms, 100);
    g_autoptr(LodgeStore) store = lodge_store_open(error);
    const char *const *names = (const char *const *)argv + 1;
    if (store == NULL || !check_names(store, names, error)) {
        return FALSE;
    }
    if (option_batch || option_json || option_csv || option_iterations > 0) {
        return print_batch(store, names, interval_ms, error);
    }
    const ScreenOptions options = {
        .store = store,
        .names = names,
        .program = option_program != NULL ? option_program : "lodge",
        .sort = option_sort,
        .interval_ms = interval_ms,
    };
    return screen_run(&options, error);
}

int
main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    lodge_interrupt_install();
    if (run(argc, argv, &error)) {
        return EXIT_SUCCESS;
    }
    if (error->domain == G_OPTION_ERROR) {
        fprintf(stderr, "lodge: top: %s\n", error->message);
        return 2;
    }
    fprintf(stderr, "lodge: %s\n", error->message);
    return lodge_error_exit_status(error);
}
