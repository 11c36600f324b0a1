/* top: becomes lodge-top, which loads what a screen needs. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "cli/cli.h"

static gboolean option_batch, option_csv;
static int option_iterations;
static char *option_interval, *option_sort;

const GOptionEntry lodge_options_top[] = {
    {"batch", 'b', 0, G_OPTION_ARG_NONE, &option_batch, "Print a plain table instead", NULL},
    {"csv", 0, 0, G_OPTION_ARG_NONE, &option_csv, "Print CSV", NULL},
    {"iterations", 'n', 0, G_OPTION_ARG_INT, &option_iterations,
     "Print so often (default once); the first counts from each guest's start", "N"},
    {"interval", 'i', 0, G_OPTION_ARG_STRING, &option_interval, "Time between two (default 2s)",
     "TIME"},
    {"sort", 's', 0, G_OPTION_ARG_STRING, &option_sort,
     "By cpu, memory, disk, net, uptime, state or name", "KEY"},
    {NULL},
};

static void
add(GPtrArray *words, const char *option, const char *value)
{
    if (value != NULL) {
        g_ptr_array_add(words, g_strconcat(option, "=", value, NULL));
    }
}

gboolean
lodge_cmd_top(LodgeCli *cli, int argc, char **argv, GError **error)
{
    g_autoptr(GPtrArray) words = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *program = lodge_program_own("lodge-top", LODGE_LIBEXEC_DIR);
    g_autofree char *own = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *count = option_iterations > 0 ? g_strdup_printf("%d", option_iterations)
                                                   : NULL;
    g_ptr_array_add(words, g_strdup("lodge-top"));
    add(words, "--program", own);
    add(words, "--interval", option_interval);
    add(words, "--sort", option_sort);
    add(words, "--iterations", count);
    const char *const flags[] = {option_batch ? "--batch" : NULL, option_csv ? "--csv" : NULL,
                                 cli->json ? "--json" : NULL};
    for (gsize i = 0; i < G_N_ELEMENTS(flags); i++) {
        if (flags[i] != NULL) {
            g_ptr_array_add(words, g_strdup(flags[i]));
        }
    }
    g_ptr_array_add(words, g_strdup("--"));
    for (int i = 1; i < argc; i++) {
        g_ptr_array_add(words, g_strdup(argv[i]));
    }
    g_ptr_array_add(words, NULL);
    fflush(NULL);
    execv(program, (char **)words->pdata);
    return lodge_error_errno(error, errno, "%s (is it installed whole?)", program);
}
