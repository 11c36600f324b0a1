/* image gc: what no guest needs any more. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "image/image.h"

static gboolean option_dry_run, option_images;

const GOptionEntry lodge_options_image_gc[] = {
    {"dry-run", 'n', 0, G_OPTION_ARG_NONE, &option_dry_run, "Only show what would go", NULL},
    {"images", 0, 0, G_OPTION_ARG_NONE, &option_images, "Whole images that no guest needs, too",
     NULL},
    {"yes", 'y', 0, G_OPTION_ARG_NONE, &lodge_option_yes, "Don't ask", NULL},
    {NULL},
};

static const char *const kind_words[] = {
    [LODGE_GARBAGE_IMAGE] = "image",         [LODGE_GARBAGE_OLD_FILE] = "old-file",
    [LODGE_GARBAGE_DOWNLOAD] = "download",   [LODGE_GARBAGE_LOG] = "log",
    [LODGE_GARBAGE_ABANDONED] = "abandoned",
};

static const char *
shown_path(const LodgeCli *cli, const char *path)
{
    const char *root = cli->store->root;
    gsize length = strlen(root);
    return g_str_has_prefix(path, root) && path[length] == '/' ? path + length + 1 : path;
}

/* Returns the sum of their sizes. */
static guint64
show(const LodgeCli *cli, const GPtrArray *list)
{
    static const char *const titles[] = {"FILE", "SIZE>", "WHAT", NULL};
    guint64 sum = 0;
    g_autoptr(LodgeTable) table = lodge_table_new(titles);
    for (guint i = 0; i < list->len; i++) {
        const LodgeGarbage *garbage = list->pdata[i];
        g_autofree char *size = lodge_size_human(garbage->bytes);
        const char *cells[] = {shown_path(cli, garbage->path), size, garbage->what};
        lodge_table_add(table, cells);
        sum += garbage->bytes;
    }
    if (!cli->json && list->len > 0) {
        lodge_table_print(table, cli);
    }
    return sum;
}

static json_t *
item_json(const LodgeGarbage *garbage, gboolean done)
{
    return json_pack("{s:s, s:s, s:o, s:s, s:I, s:b}", "file", garbage->path, "kind",
                     kind_words[garbage->kind], "image", lodge_json_string_or_null(garbage->image),
                     "what", garbage->what, "bytes", (json_int_t)garbage->bytes, "done", done);
}

static gboolean
remove_all(LodgeCli *cli, const GPtrArray *list, json_t *results, guint64 *out_bytes,
           GError **error)
{
    for (guint i = 0; i < list->len; i++) {
        gboolean gone = FALSE;
        const LodgeGarbage *garbage = list->pdata[i];
        if (!lodge_garbage_remove(cli->store, garbage, &gone, error)) {
            return FALSE;
        }
        *out_bytes += gone ? garbage->bytes : 0;
        json_array_append_new(results, item_json(garbage, gone));
        if (!gone) {
            lodge_say(cli, "%s stays: something has come to need it", garbage->path);
        }
    }
    return TRUE;
}

gboolean
lodge_cmd_image_gc(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    (void)argv;
    guint64 bytes = 0;
    g_autoptr(GPtrArray) list = lodge_garbage_find(cli->store, option_images, error);
    if (list == NULL) {
        return FALSE;
    }
    guint64 sum = show(cli, list);
    g_autofree char *size = lodge_size_human(sum);
    g_autofree char *question = g_strdup_printf("Remove these (%s)?", size);
    g_autoptr(json_t) results = json_array();
    if (list->len == 0 && !cli->json) {
        lodge_say(cli, "Nothing to remove: all that is here is needed.");
    }
    for (guint i = 0; option_dry_run && i < list->len; i++) {
        json_array_append_new(results, item_json(list->pdata[i], FALSE));
    }
    if (list->len > 0 && !option_dry_run) {
        if ((!lodge_option_yes && !lodge_ask(question, error)) ||
            !remove_all(cli, list, results, &bytes, error)) {
            return FALSE;
        }
    }
    if (cli->json) {
        lodge_print_json(g_steal_pointer(&results));
        return TRUE;
    }
    g_autofree char *freed = lodge_size_human(bytes);
    if (list->len > 0 && option_dry_run) {
        lodge_say(cli, "%s could be freed. Do it: lodge image gc%s", size,
                  option_images ? " --images" : "");
    } else if (list->len > 0) {
        lodge_say(cli, "%s freed.", freed);
    }
    return TRUE;
}
