/* disk tree: which files stand on which. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "ops/disk-tree.h"

/* "image tiny", "web1/root, web1/root at monday" */
static char *
users_shown(const LodgeDiskNode *node)
{
    g_autoptr(GString) text = g_string_new(NULL);
    if (node->image != NULL) {
        g_string_append_printf(text, "image %s%s", node->image,
                               node->is_replaced ? " (an older one)" : "");
    }
    for (guint i = 0; i < node->users->len; i++) {
        const LodgeDiskUser *user = node->users->pdata[i];
        g_string_append_printf(text, "%s%s/%s", text->len > 0 ? ", " : "", user->guest, user->disk);
        if (user->snapshot != NULL) {
            g_string_append_printf(text, " at %s", user->snapshot);
        }
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}

static json_t *
node_json(const LodgeDiskNode *node)
{
    json_t *users = json_array();
    for (guint i = 0; i < node->users->len; i++) {
        const LodgeDiskUser *user = node->users->pdata[i];
        json_array_append_new(users,
                              json_pack("{s:s, s:s, s:o}", "guest", user->guest, "disk", user->disk,
                                        "snapshot", lodge_json_string_or_null(user->snapshot)));
    }
    return json_pack("{s:s, s:I, s:I, s:o, s:b, s:o, s:o, s:[]}", "file", node->path, "size_bytes",
                     (json_int_t)node->size_bytes, "allocated_bytes",
                     (json_int_t)node->allocated_bytes, "image",
                     lodge_json_string_or_null(node->image), "replaced", node->is_replaced, "users",
                     users, "problem", lodge_json_string_or_null(node->problem), "children");
}

/* Nested as the tree is. */
static json_t *
tree_json(const GPtrArray *nodes)
{
    json_t *roots = json_array();
    g_autoptr(GPtrArray) path = g_ptr_array_new(); /* where children of each depth go */
    g_ptr_array_add(path, roots);
    for (guint i = 0; i < nodes->len; i++) {
        const LodgeDiskNode *node = nodes->pdata[i];
        json_t *value = node_json(node);
        g_ptr_array_set_size(path, (int)MIN(node->depth + 1, path->len));
        json_array_append_new(path->pdata[path->len - 1], value);
        g_ptr_array_add(path, json_object_get(value, "children"));
    }
    return roots;
}

static void
add_row(LodgeTable *table, const LodgeDiskNode *node, gboolean *more)
{
    g_autofree char *lead = lodge_tree_lead(node->depth, node->is_last, more);
    g_autofree char *name = g_strconcat(lead, node->shown, NULL);
    g_autofree char *size = node->size_bytes != 0 ? lodge_size_human(node->size_bytes)
                                                  : g_strdup("–");
    g_autofree char *allocated = lodge_size_human(node->allocated_bytes);
    g_autofree char *users = users_shown(node);
    g_autofree char *last = node->problem == NULL ? g_strdup(users)
                            : *users == '\0'      ? g_strdup(node->problem)
                                                  : g_strdup_printf("%s: %s", users, node->problem);
    g_autofree char *shown = lodge_text_printable(*last != '\0' ? last : "–");
    const char *cells[] = {name, size, allocated, shown};
    lodge_table_add(table, cells);
}

gboolean
lodge_cmd_disk_tree(LodgeCli *cli, int argc, char **argv, GError **error)
{
    static const char *const titles[] = {"FILE", "SIZE>", "ALLOCATED>", "WHOSE", NULL};
    g_autoptr(GPtrArray) nodes = lodge_disk_tree(cli->store, argc > 1 ? argv[1] : NULL, error);
    if (nodes == NULL) {
        return FALSE;
    }
    if (cli->json) {
        lodge_print_json(tree_json(nodes));
        return TRUE;
    }
    g_autoptr(LodgeTable) table = lodge_table_new(titles);
    g_autofree gboolean *more = g_new0(gboolean, nodes->len + 1);
    for (guint i = 0; i < nodes->len; i++) {
        add_row(table, nodes->pdata[i], more);
    }
    if (nodes->len == 0) {
        lodge_say(cli, "no disk files yet");
        return TRUE;
    }
    lodge_table_print(table, cli);
    g_autofree char *root = lodge_text_printable(cli->store->root);
    lodge_say(cli, "Files that begin with no slash are in %s.", root);
    return TRUE;
}
