/* backup, restore: a guest's disks kept in a folder elsewhere. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "ops/backup.h"

static gboolean option_list, option_verify, option_full, option_nbd;
static char *option_keep, *option_point, *option_as;

const GOptionEntry lodge_options_backup[] = {
    {"list", 'l', 0, G_OPTION_ARG_NONE, &option_list, "Show what is in the folder", NULL},
    {"verify", 0, 0, G_OPTION_ARG_NONE, &option_verify,
     "Read all of it again, and compare it with what was noted when it was made", NULL},
    {"full", 0, 0, G_OPTION_ARG_NONE, &option_full, "All, although what changed is known", NULL},
    {"keep", 'k', 0, G_OPTION_ARG_STRING, &option_keep,
     "Then remove points but the newest of so many hours (h), days, weeks, months, years; all: "
     "none "
     "(default: backup.keep= of the guest)",
     "\"7d 4w 6m\""},
    {NULL},
};

const GOptionEntry lodge_options_restore[] = {
    {"point", 'p', 0, G_OPTION_ARG_STRING, &option_point,
     "Which point, or how its name begins; else the newest", "TIME"},
    {"as", 0, 0, G_OPTION_ARG_STRING, &option_as,
     "Under another name, with MACs and addresses of its own", "NAME"},
    {"yes", 'y', 0, G_OPTION_ARG_NONE, &lodge_option_yes,
     "Replace a guest of that name without asking", NULL},
    {NULL},
};

const GOptionEntry lodge_options_backup_mount[] = {
    {"nbd", 0, 0, G_OPTION_ARG_NONE, &option_nbd,
     "Serve them by NBD, on a Unix socket in DIRECTORY, though FUSE is there", NULL},
    {NULL},
};

static json_t *
point_json(const LodgePoint *point)
{
    json_t *disks = json_array();
    for (guint i = 0; i < point->disks->len; i++) {
        const LodgePointDisk *disk = point->disks->pdata[i];
        json_array_append_new(disks, json_pack("{s:s, s:s, s:I, s:I, s:b, s:o, s:o}", "name",
                                               disk->name, "file", disk->file, "size_bytes",
                                               (json_int_t)disk->size_bytes, "bytes",
                                               (json_int_t)disk->bytes, "full", disk->full, "why",
                                               lodge_json_string_or_null(disk->why), "sha256",
                                               lodge_json_string_or_null(disk->sha256)));
    }
    return json_pack("{s:s, s:o, s:o, s:o, s:s, s:b, s:I, s:o}", "point", point->name, "guest",
                     lodge_json_string_or_null(point->guest), "made",
                     lodge_json_string_or_null(point->made), "parent",
                     lodge_json_string_or_null(point->parent), "kind",
                     lodge_point_kind_word(point->kind), "full", lodge_point_is_full(point),
                     "bytes", (json_int_t)lodge_point_bytes(point), "disks", disks);
}

static const char *
kind_shown(int kind)
{
    switch ((LodgePointKind)kind) {
    case LODGE_POINT_STOPPED:
        return "stopped";
    case LODGE_POINT_FROZEN:
        return "running, at rest";
    case LODGE_POINT_PLUG:
        return "running";
    }
    return "";
}

static char *
time_shown(const LodgePoint *point)
{
    g_autoptr(GDateTime) utc = g_date_time_new_from_unix_utc(lodge_point_time(point->name));
    g_autoptr(GDateTime) local = g_date_time_to_local(utc);
    return g_date_time_format(local, "%Y-%m-%d %H:%M:%S");
}

static gboolean
list(const LodgeCli *cli, const char *folder, GError **error)
{
    static const char *const titles[] = {"GUEST", "POINT",  "MADE", "GUEST WAS",
                                         "HOLDS", "BYTES>", NULL};
    g_autoptr(GPtrArray) all = lodge_backups(folder, error);
    g_autoptr(LodgeTable) table = lodge_table_new(titles);
    g_autoptr(json_t) values = json_array();
    for (guint i = 0; all != NULL && i < all->len; i++) {
        const LodgeBackups *backups = all->pdata[i];
        for (guint j = 0; j < backups->points->len; j++) {
            const LodgePoint *point = backups->points->pdata[j];
            g_autofree char *made = time_shown(point);
            g_autofree char *bytes = lodge_size_human(lodge_point_bytes(point));
            const char *cells[] = {backups->guest,
                                   point->name,
                                   made,
                                   kind_shown(point->kind),
                                   lodge_point_is_full(point) ? "all" : "what changed",
                                   bytes};
            lodge_table_add(table, cells);
            json_array_append_new(values, point_json(point));
        }
    }
    if (all == NULL) {
        return FALSE;
    }
    if (cli->json) {
        lodge_print_json(g_steal_pointer(&values));
    } else if (json_array_size(values) == 0) {
        lodge_say(cli, "%s has no point yet.", folder);
    } else {
        lodge_table_print(table, cli);
    }
    return TRUE;
}

static gboolean
verify(const LodgeCli *cli, const char *folder, const char *point, GError **error)
{
    guint count = 0;
    LodgeProgress *progress = lodge_cli_progress_new(cli);
    gboolean fine = lodge_backup_verify(folder, point, progress, &count, error);
    gint64 time_ms = lodge_cli_progress_end(progress, fine);
    if (!fine) {
        return FALSE;
    }
    if (cli->json) {
        lodge_print_json(json_pack("{s:s, s:i, s:I}", "folder", folder, "points", (int)count,
                                   "time_ms", (json_int_t)time_ms));
        return TRUE;
    }
    g_autofree char *time = lodge_duration_human(time_ms);
    lodge_say(cli, "%u point%s in %s as written, after %s.", count, count == 1 ? " is" : "s are",
              folder, time);
    return TRUE;
}

static void
say_done(const LodgeCli *cli, const LodgeBackupDone *done, gint64 time_ms)
{
    const LodgePoint *point = done->point;
    g_autofree char *time = lodge_duration_human(time_ms);
    g_autofree char *copied = lodge_size_human(done->copied_bytes);
    g_autofree char *wrote = lodge_size_human(lodge_point_bytes(point));
    g_autoptr(GString) words = g_string_new(NULL);
    for (guint i = 0; i < point->disks->len; i++) {
        const LodgePointDisk *disk = point->disks->pdata[i];
        if (disk->why != NULL) {
            lodge_say(cli, "Disk %s was copied whole: %s.", disk->name, disk->why);
        }
    }
    if (done->pause_ms != 0) {
        g_string_append_printf(words, "; the guest stood still for %u ms", done->pause_ms);
    }
    if (point->kind == LODGE_POINT_PLUG) {
        g_string_append(words, "; its file systems were not at rest");
    }
    if (done->removed->len > 0) {
        g_string_append_printf(words, "; %u old point%s went", done->removed->len,
                               done->removed->len == 1 ? "" : "s");
    }
    lodge_say(
        cli,
        "Point %s of %s is here, after %s: %s, %s of disk in %s, which were read back%s. Out of "
        "it: lodge restore %s",
        point->name, point->guest, time, lodge_point_is_full(point) ? "all" : "what changed",
        copied, wrote, words->str, done->folder);
}

static gboolean
make(const LodgeCli *cli, const char *guest, const char *folder, GError **error)
{
    const LodgeBackupWish wish = {
        .guest = guest, .folder = folder, .full = option_full, .keep = option_keep};
    LodgeProgress *progress = lodge_cli_progress_new(cli);
    g_autoptr(LodgeBackupDone) done = lodge_backup(cli->store, &wish, progress, error);
    gint64 time_ms = lodge_cli_progress_end(progress, done != NULL);
    if (done == NULL) {
        return FALSE;
    }
    if (cli->json) {
        json_t *value = point_json(done->point);
        json_t *removed = json_array();
        for (guint i = 0; i < done->removed->len; i++) {
            json_array_append_new(removed, json_string(done->removed->pdata[i]));
        }
        json_object_set_new(value, "copied_bytes", json_integer((json_int_t)done->copied_bytes));
        json_object_set_new(value, "pause_ms", json_integer(done->pause_ms));
        json_object_set_new(value, "time_ms", json_integer(time_ms));
        json_object_set_new(value, "removed", removed);
        json_object_set_new(value, "folder", json_string(done->folder));
        lodge_print_json(value);
    } else {
        say_done(cli, done, time_ms);
    }
    return TRUE;
}

gboolean
lodge_cmd_backup(LodgeCli *cli, int argc, char **argv, GError **error)
{
    if (option_list || option_verify) {
        if (option_list && option_verify) {
            return lodge_error_set(error, LODGE_ERROR_USAGE, "one of --list and --verify");
        }
        if (option_full || option_keep != NULL || (option_list && argc > 2)) {
            return lodge_error_set(error, LODGE_ERROR_USAGE,
                                   "%s takes a folder, and makes no backup",
                                   option_list ? "--list" : "--verify");
        }
        return option_list ? list(cli, argv[1], error)
                           : verify(cli, argv[1], argc > 2 ? argv[2] : NULL, error);
    }
    return make(cli, argv[1], argc > 2 ? argv[2] : NULL, error);
}

gboolean
lodge_cmd_restore(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    g_autofree char *guest = NULL;
    g_autofree char *point = NULL;
    gboolean exists = FALSE;
    LodgeRestore wish = {.folder = argv[1], .point = option_point, .name = option_as};
    if (!lodge_restore_look(cli->store, &wish, &guest, &point, &exists, error)) {
        return FALSE;
    }
    if (exists && !lodge_option_yes) {
        g_autofree char *question = g_strdup_printf(
            "Replace guest %s by what it was at %s? What it is now is lost, snapshots too.", guest,
            point);
        if (!lodge_ask(question, error)) {
            return FALSE;
        }
    }
    wish.replace = exists;
    LodgeProgress *progress = lodge_cli_progress_new(cli);
    gboolean fine = lodge_restore(cli->store, &wish, progress, error);
    gint64 time_ms = lodge_cli_progress_end(progress, fine);
    if (!fine) {
        return FALSE;
    }
    if (cli->json) {
        lodge_print_json(json_pack("{s:s, s:s, s:I}", "guest", guest, "point", point, "time_ms",
                                   (json_int_t)time_ms));
        return TRUE;
    }
    g_autofree char *time = lodge_duration_human(time_ms);
    lodge_say(cli, "%s is here as it was at %s, after %s. Boot it: lodge start %s", guest, point,
              time, guest);
    return TRUE;
}

gboolean
lodge_cmd_backup_mount(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    const LodgeBackupMount wish = {
        .folder = argv[1], .point = argv[2], .at = argv[3], .nbd = option_nbd};
    g_auto(GStrv) seen = lodge_backup_mount(&wish, error);
    if (seen == NULL) {
        return FALSE;
    }
    gboolean by_nbd = seen[0] != NULL && g_str_has_prefix(seen[0], "nbd");
    if (cli->json) {
        json_t *disks = json_array();
        for (gsize i = 0; seen[i] != NULL; i++) {
            json_array_append_new(disks, json_string(seen[i]));
        }
        lodge_print_json(json_pack("{s:s, s:s, s:o}", "folder", argv[3], "by",
                                   by_nbd ? "nbd" : "fuse", "disks", disks));
        return TRUE;
    }
    for (gsize i = 0; seen[i] != NULL; i++) {
        printf("%s\n", seen[i]);
    }
    lodge_say(cli, "These are the disks of then, read-only%s, until: lodge backup unmount %s",
              by_nbd ? ", by NBD: for qemu-img, qemu-nbd, nbd-client and the like" : "", argv[3]);
    return TRUE;
}

gboolean
lodge_cmd_backup_unmount(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    if (!lodge_backup_unmount(argv[1], error)) {
        return FALSE;
    }
    if (cli->json) {
        lodge_print_json(json_pack("{s:s}", "folder", argv[1]));
    } else {
        lodge_say(cli, "%s is empty again.", argv[1]);
    }
    return TRUE;
}
