/* snapshot …: what a guest was, to go back to. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "ops/rewind.h"
#include "ops/snapshot.h"

static gboolean option_disks_only, option_scheduled, option_cold;
static char *option_description;

const GOptionEntry lodge_options_snapshot_create[] = {
    {"disks-only", 0, 0, G_OPTION_ARG_NONE, &option_disks_only,
     "Without the memory of a guest that runs; its file systems are brought to rest for it", NULL},
    {"scheduled", 0, 0, G_OPTION_ARG_NONE, &option_scheduled,
     "One as snapshots= in its definition says; the oldest of these go", NULL},
    {"description", 'd', 0, G_OPTION_ARG_STRING, &option_description, "What it is for", "TEXT"},
    {NULL},
};

const GOptionEntry lodge_options_snapshot_restore[] = {
    {"cold", 0, 0, G_OPTION_ARG_NONE, &option_cold,
     "Its disks only: the guest is stopped then, and `lodge start` boots it", NULL},
    {"yes", 'y', 0, G_OPTION_ARG_NONE, &lodge_option_yes, "Don't ask", NULL},
    {NULL},
};

static json_t *
snapshot_json(const LodgeSnapshot *snapshot)
{
    json_t *disks = json_array();
    for (guint i = 0; i < snapshot->disks->len; i++) {
        const LodgeSnapshotDisk *disk = snapshot->disks->pdata[i];
        json_array_append_new(disks,
                              json_pack("{s:s, s:s}", "name", disk->name, "file", disk->file));
    }
    return json_pack("{s:s, s:o, s:o, s:o, s:s, s:I, s:I, s:b, s:o}", "name", snapshot->name,
                     "parent", lodge_json_string_or_null(snapshot->parent), "made",
                     lodge_json_string_or_null(snapshot->made), "description",
                     lodge_json_string_or_null(snapshot->description), "kind",
                     lodge_snapshot_kind_word(snapshot->kind), "memory_bytes",
                     (json_int_t)snapshot->memory_bytes, "pause_ms", (json_int_t)snapshot->pause_ms,
                     "paused", snapshot->paused, "disks", disks);
}

static json_t *
view_json(const LodgeSnapshotView *view)
{
    json_t *value = snapshot_json(view->snapshot);
    json_object_set_new(value, "depth", json_integer(view->depth));
    json_object_set_new(value, "current", json_boolean(view->is_current));
    json_object_set_new(value, "disk_bytes", json_integer((json_int_t)view->disk_bytes));
    json_object_set_new(value, "problem", lodge_json_string_or_null(view->problem));
    return value;
}

gboolean
lodge_cmd_snapshot_create(LodgeCli *cli, int argc, char **argv, GError **error)
{
    const LodgeSnapshotWish wish = {.guest = argv[1],
                                    .name = argc > 2 ? argv[2] : NULL,
                                    .description = option_description,
                                    .disks_only = option_disks_only};
    if (option_scheduled && (argc > 2 || option_disks_only || option_description != NULL)) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "--scheduled takes name and kind from the definition");
    }
    LodgeProgress *progress = lodge_cli_progress_new(cli);
    g_autoptr(LodgeSnapshot)
        made = option_scheduled
                   ? lodge_snapshot_create_scheduled(cli->store, argv[1], progress, error)
                   : lodge_snapshot_create(cli->store, &wish, progress, error);
    gint64 time_ms = lodge_cli_progress_end(progress, made != NULL);
    if (made == NULL) {
        return FALSE;
    }
    if (cli->json) {
        lodge_print_json(snapshot_json(made));
        return TRUE;
    }
    g_autofree char *time = lodge_duration_human(time_ms);
    g_autofree char *memory = lodge_size_human(made->memory_bytes);
    g_autoptr(GString) words = g_string_new(NULL);
    if (made->memory_bytes != 0) {
        g_string_append_printf(words, ", with %s of memory", memory);
    }
    if (made->pause_ms != 0) {
        g_string_append_printf(words, "; the guest stood still for %u ms", made->pause_ms);
    }
    if (made->kind == LODGE_SNAPSHOT_PLUG) {
        g_string_append(words, "; its file systems were not at rest");
    }
    lodge_say(cli,
              "Snapshot %s of %s is here, after %s%s. Back to it: lodge snapshot restore %s %s",
              made->name, argv[1], time, words->str, argv[1], made->name);
    return TRUE;
}

static const char *
kind_shown(const LodgeSnapshot *snapshot)
{
    switch ((LodgeSnapshotKind)snapshot->kind) {
    case LODGE_SNAPSHOT_STOPPED:
        return "stopped";
    case LODGE_SNAPSHOT_RUNNING:
        return snapshot->paused ? "paused" : "running";
    case LODGE_SNAPSHOT_FROZEN:
        return "disks, at rest";
    case LODGE_SNAPSHOT_PLUG:
        return "disks";
    }
    return "";
}

/* What stands before the name of the view @i. An only child stands right below its parent: a day of
 * hourly snapshots is a column, not stairs. But roots, if there are several, are told apart from
 * what follows them. @shown, @more: of each depth, for the rows together. Free with g_free. */
static char *
lead_of(const GPtrArray *views, guint i, gboolean many_roots, guint *shown, gboolean *more)
{
    const LodgeSnapshotView *view = views->pdata[i];
    const LodgeSnapshotView *above = i > 0 ? views->pdata[i - 1] : NULL;
    guint depth = view->depth;
    gboolean is_only = depth > 0 && view->is_last && above->depth + 1 == depth;
    gboolean follows = is_only && (depth > 1 || !many_roots);
    shown[depth] = depth == 0 ? 0 : shown[depth - 1] + (follows ? 0 : 1);
    return follows ? lodge_tree_stem(shown[depth], more)
                   : lodge_tree_lead(shown[depth], view->is_last, more);
}

static void
add_row(LodgeTable *table, const LodgeSnapshotView *view, const char *lead)
{
    const LodgeSnapshot *snapshot = view->snapshot;
    g_autofree char *name = g_strconcat(lead, snapshot->name, view->is_current ? " *" : "", NULL);
    g_autofree char *made = lodge_time_shown(snapshot->made);
    g_autofree char *disks = lodge_size_human(view->disk_bytes);
    g_autofree char *memory = snapshot->memory_bytes != 0 ? lodge_size_human(snapshot->memory_bytes)
                                                          : g_strdup("–");
    const char *note = view->problem != NULL           ? view->problem
                       : snapshot->description != NULL ? snapshot->description
                                                       : "";
    g_autofree char *shown = lodge_text_printable(note);
    const char *cells[] = {name, made, kind_shown(snapshot), disks, memory, shown};
    lodge_table_add(table, cells);
}

gboolean
lodge_cmd_snapshot_list(LodgeCli *cli, int argc, char **argv, GError **error)
{
    static const char *const titles[] = {"NAME",    "MADE", "GUEST WAS", "DISKS>",
                                         "MEMORY>", "",     NULL};
    (void)argc;
    g_autoptr(GPtrArray) views = lodge_snapshots(cli->store, argv[1], error);
    if (views == NULL) {
        return FALSE;
    }
    g_autoptr(json_t) list = json_array();
    g_autoptr(LodgeTable) table = lodge_table_new(titles);
    g_autofree gboolean *more = g_new0(gboolean, views->len + 1);
    g_autofree guint *shown = g_new0(guint, views->len + 1);
    guint roots = 0;
    for (guint i = 0; i < views->len; i++) {
        roots += ((LodgeSnapshotView *)views->pdata[i])->depth == 0 ? 1 : 0;
    }
    gboolean has_current = FALSE;
    for (guint i = 0; i < views->len; i++) {
        const LodgeSnapshotView *view = views->pdata[i];
        json_array_append_new(list, view_json(view));
        g_autofree char *lead = lead_of(views, i, roots > 1, shown, more);
        add_row(table, view, lead);
        has_current = has_current || view->is_current;
    }
    if (cli->json) {
        lodge_print_json(g_steal_pointer(&list));
        return TRUE;
    }
    if (views->len == 0) {
        lodge_say(cli, "%s has no snapshots. Make one: lodge snapshot create %s", argv[1], argv[1]);
        return TRUE;
    }
    lodge_table_print(table, cli);
    if (has_current) {
        lodge_say(cli, "* the guest's disks go on from here");
    }
    return TRUE;
}

static void
print_view(const LodgeCli *cli, const char *guest, const LodgeSnapshotView *view)
{
    const LodgeSnapshot *snapshot = view->snapshot;
    g_autofree char *title = g_strdup_printf("%s/%s", guest, snapshot->name);
    g_autofree char *bold = lodge_colour(cli->colour_out, "bold", title);
    g_autofree char *made = lodge_time_shown(snapshot->made);
    g_autofree char *disks = lodge_size_human(view->disk_bytes);
    g_autofree char *memory = lodge_size_human(snapshot->memory_bytes);
    printf("%s\n  %-12s %s\n", bold, "made", made);
    if (snapshot->description != NULL) {
        printf("  %-12s %s\n", "description", snapshot->description);
    }
    printf("  %-12s %s\n", "parent", snapshot->parent != NULL ? snapshot->parent : "none");
    printf("  %-12s %s\n", "guest was", kind_shown(snapshot));
    if (snapshot->memory_bytes != 0) {
        printf("  %-12s %s, for QEMU %s\n", "memory", memory, snapshot->qemu);
    }
    if (snapshot->pause_ms != 0) {
        printf("  %-12s %u ms\n", "stood still", snapshot->pause_ms);
    }
    for (guint i = 0; i < snapshot->disks->len; i++) {
        const LodgeSnapshotDisk *disk = snapshot->disks->pdata[i];
        printf("  %-12s %s: %s\n", "disk", disk->name, disk->file);
    }
    printf("  %-12s %s\n", "allocated", disks);
    if (view->problem != NULL) {
        printf("  %-12s %s\n", "problem", view->problem);
    }
}

/* The one of that name in @views, or an error that suggests one. */
static const LodgeSnapshotView *
find_view(const GPtrArray *views, const char *guest, const char *name, GError **error)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    for (guint i = 0; i < views->len; i++) {
        const LodgeSnapshotView *view = views->pdata[i];
        if (g_str_equal(view->snapshot->name, name)) {
            return view;
        }
        g_ptr_array_add(names, view->snapshot->name);
    }
    g_ptr_array_add(names, NULL);
    g_autofree char *hint = lodge_text_suggestion(name, (const char *const *)names->pdata);
    lodge_error_set(error, LODGE_ERROR_NOT_FOUND, "guest %s has no snapshot “%s”%s", guest, name,
                    hint);
    return NULL;
}

gboolean
lodge_cmd_snapshot_show(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    g_autoptr(GPtrArray) views = lodge_snapshots(cli->store, argv[1], error);
    const LodgeSnapshotView *view = views != NULL ? find_view(views, argv[1], argv[2], error)
                                                  : NULL;
    if (view == NULL) {
        return FALSE;
    }
    if (cli->json) {
        lodge_print_json(view_json(view));
    } else {
        print_view(cli, argv[1], view);
    }
    return TRUE;
}

/* Nobody is asked about a snapshot that isn't there. */
static gboolean
confirm(const LodgeCli *cli, const char *guest, const char *name, const char *question,
        GError **error)
{
    g_autoptr(GPtrArray) views = lodge_snapshots(cli->store, guest, error);
    return views != NULL && find_view(views, guest, name, error) != NULL &&
           (lodge_option_yes || lodge_ask(question, error));
}

gboolean
lodge_cmd_snapshot_restore(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    g_autofree char *question = g_strdup_printf(
        "Make %s what it was at %s? What it is now is lost.", argv[1], argv[2]);
    if (!confirm(cli, argv[1], argv[2], question, error)) {
        return FALSE;
    }
    LodgeProgress *progress = lodge_cli_progress_new(cli);
    gboolean fine = lodge_snapshot_restore(cli->store, argv[1], argv[2], option_cold, progress,
                                           error);
    gint64 time_ms = lodge_cli_progress_end(progress, fine);
    if (!fine) {
        return FALSE;
    }
    g_autoptr(LodgeGuestState) state = lodge_store_state(cli->store, argv[1]);
    const char *word = lodge_state_word(state->state);
    if (cli->json) {
        lodge_print_json(json_pack("{s:s, s:s, s:s, s:I}", "guest", argv[1], "snapshot", argv[2],
                                   "state", word, "time_ms", (json_int_t)time_ms));
        return TRUE;
    }
    g_autofree char *time = lodge_duration_human(time_ms);
    lodge_say(cli, "%s is what it was at %s, and %s, after %s.%s%s", argv[1], argv[2],
              state->has_qemu ? "goes on" : "stopped", time,
              state->has_qemu ? "" : " Boot it: lodge start ", state->has_qemu ? "" : argv[1]);
    return TRUE;
}

gboolean
lodge_cmd_snapshot_delete(LodgeCli *cli, int argc, char **argv, GError **error)
{
    g_autoptr(json_t) list = json_array();
    for (int i = 2; i < argc; i++) {
        g_autofree char *question = g_strdup_printf("Delete snapshot %s of %s?", argv[i], argv[1]);
        if (!confirm(cli, argv[1], argv[i], question, error)) {
            return FALSE;
        }
        LodgeProgress *progress = lodge_cli_progress_new(cli);
        gboolean fine = lodge_snapshot_delete(cli->store, argv[1], argv[i], progress, error);
        gint64 time_ms = lodge_cli_progress_end(progress, fine);
        if (!fine) {
            return FALSE;
        }
        g_autofree char *time = lodge_duration_human(time_ms);
        if (!cli->json) {
            lodge_say(cli, "Snapshot %s of %s is deleted, after %s.", argv[i], argv[1], time);
        }
        json_array_append_new(list, json_pack("{s:s, s:s, s:I}", "guest", argv[1], "snapshot",
                                              argv[i], "time_ms", (json_int_t)time_ms));
    }
    if (cli->json) {
        lodge_print_json(g_steal_pointer(&list));
    }
    return TRUE;
}

gboolean
lodge_cmd_snapshot_diff(LodgeCli *cli, int argc, char **argv, GError **error)
{
    const char *const titles[] = {"WHAT", "THEN", argc > 3 ? "LATER" : "NOW", NULL};
    const char *to = argc > 3 ? argv[3] : NULL;
    g_autoptr(GPtrArray) changes = lodge_snapshot_diff(cli->store, argv[1], argv[2], to, error);
    if (changes == NULL) {
        return FALSE;
    }
    g_autoptr(LodgeTable) table = lodge_table_new(titles);
    g_autoptr(json_t) list = json_array();
    for (guint i = 0; i < changes->len; i++) {
        const LodgeSnapshotChange *change = changes->pdata[i];
        gboolean is_disk = change->before == NULL && change->after == NULL;
        g_autofree char *size = lodge_size_human(change->bytes);
        g_autofree char *written = g_strconcat(size, " written", NULL);
        const char *before = change->before != NULL ? change->before : "–";
        const char *after = change->after != NULL ? change->after : "–";
        const char *cells[] = {change->what, is_disk ? "" : before, is_disk ? written : after};
        lodge_table_add(table, cells);
        json_array_append_new(
            list, is_disk ? json_pack("{s:s, s:I}", "what", change->what, "written_bytes",
                                      (json_int_t)change->bytes)
                          : json_pack("{s:s, s:o, s:o}", "what", change->what, "before",
                                      lodge_json_string_or_null(change->before), "after",
                                      lodge_json_string_or_null(change->after)));
    }
    if (cli->json) {
        lodge_print_json(g_steal_pointer(&list));
    } else {
        lodge_table_print(table, cli);
    }
    return TRUE;
}
