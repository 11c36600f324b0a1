/* start, stop, kill, restart, pause, resume, delete: each takes several guests, goes on with the
 * others when one fails, and ends with the first failure. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/guest-view.h"
#include "ops/disk.h"
#include "ops/ops.h"

enum {
    STICK_TIMEOUT_MS = 10000,
};

static gboolean option_paused, option_no_wait, option_all, option_autostart, option_force;
static char *option_timeout, *option_boot_once, *option_usb_storage;
gboolean lodge_option_yes;

#define TIMEOUT(text)                                                                              \
    {                                                                                              \
        "timeout", 0, 0, G_OPTION_ARG_STRING, &option_timeout, text, "TIME"                        \
    }
#define YES                                                                                        \
    {                                                                                              \
        "yes", 'y', 0, G_OPTION_ARG_NONE, &lodge_option_yes, "Don't ask", NULL                     \
    }

const GOptionEntry lodge_options_start[] = {
    {"paused", 0, 0, G_OPTION_ARG_NONE, &option_paused, "Start without running its CPUs", NULL},
    {"no-wait", 0, 0, G_OPTION_ARG_NONE, &option_no_wait, "Don't wait until it answers", NULL},
    {"autostart", 0, 0, G_OPTION_ARG_NONE, &option_autostart,
     "All guests whose definition says autostart=yes", NULL},
    {"boot-once", 0, 0, G_OPTION_ARG_STRING, &option_boot_once,
     "Boot from there, until its first reset: disk, cdrom or net", "WHERE"},
    {"usb-storage", 0, 0, G_OPTION_ARG_FILENAME, &option_usb_storage,
     "With a USB stick made of this file, as `lodge usb storage` plugs in", "FILE"},
    TIMEOUT("How long it may take to answer (default 5m)"),
    {NULL},
};

const GOptionEntry lodge_options_stop[] = {
    {"all", 0, 0, G_OPTION_ARG_NONE, &option_all, "All guests that run, at once", NULL},
    TIMEOUT("How long to wait for its end (default 1m)"),
    {NULL},
};

const GOptionEntry lodge_options_restart[] = {
    {"force", 'f', 0, G_OPTION_ARG_NONE, &option_force, "Pull the plug instead of asking", NULL},
    TIMEOUT("How long it may take to end, and again to answer (default 5m)"),
    {NULL},
};

const GOptionEntry lodge_options_delete[] = {
    {"force", 'f', 0, G_OPTION_ARG_NONE, &option_force, "Even if it runs: it is killed", NULL},
    YES,
    {NULL},
};

const GOptionEntry lodge_options_yes[] = {
    YES,
    {NULL},
};

typedef gboolean (*VerbFunc)(LodgeCli *cli, const char *name, gint64 timeout_ms,
                             LodgeProgress *progress, GError **error);

/* Run @verb on each name, and say "<name> <done>, after 2.1 s". */
static gboolean
for_each(LodgeCli *cli, char **names, const char *done, VerbFunc verb, const char *fallback,
         GError **error)
{
    gint64 timeout_ms = 0;
    g_autoptr(GError) first = NULL;
    if (!lodge_duration_parse(option_timeout != NULL ? option_timeout : fallback, &timeout_ms,
                              error)) {
        return lodge_error_prefix(error, "--timeout");
    }
    g_autoptr(json_t) results = json_array();
    for (gsize i = 0; names[i] != NULL; i++) {
        g_autoptr(GError) problem = NULL;
        LodgeProgress *progress = lodge_cli_progress_new(cli);
        gboolean fine = verb(cli, names[i], timeout_ms, progress, &problem);
        gint64 time_ms = lodge_cli_progress_end(progress, fine);
        g_autofree char *time = lodge_duration_human(time_ms);
        json_array_append_new(results, json_pack("{s:s, s:b, s:I}", "name", names[i], "done", fine,
                                                 "took_ms", (json_int_t)time_ms));
        if (fine && !cli->json) {
            lodge_say(cli, "%s %s, after %s", names[i], done, time);
        }
        if (!fine && first != NULL) {
            lodge_say(cli, "lodge: %s", problem->message);
        } else if (!fine) {
            first = g_steal_pointer(&problem);
            if (g_error_matches(first, LODGE_ERROR, LODGE_ERROR_INTERRUPTED)) {
                break;
            }
        }
    }
    if (first != NULL) {
        g_propagate_error(error, g_steal_pointer(&first));
        return FALSE;
    }
    if (cli->json) {
        lodge_print_json(g_steal_pointer(&results));
    }
    return TRUE;
}

/* The stick is there before the machine, so that firmware and boot loaders see it too. */
static gboolean
plug_stick(LodgeCli *cli, const char *name, char **out_stick, GError **error)
{
    LodgeDiskResult result = {0};
    const LodgeDiskWish wish = {.guest = name, .file = option_usb_storage, .bus = "usb"};
    if (option_usb_storage != NULL && !lodge_disk_attach(cli->store, &wish, NULL, &result, error)) {
        return FALSE;
    }
    *out_stick = result.name;
    return TRUE;
}

/* After a start that failed: unless the guest runs all the same, nothing of it stays. */
static void
draw_stick(LodgeCli *cli, const char *name, const char *stick)
{
    g_autoptr(LodgeGuestState) state = lodge_store_state(cli->store, name);
    LodgeDiskResult result = {0};
    if (stick != NULL && !state->has_qemu) {
        lodge_disk_detach(cli->store, name, stick, FALSE, STICK_TIMEOUT_MS, &result, NULL);
        g_free(result.name);
    }
}

static gboolean
start(LodgeCli *cli, const char *name, gint64 timeout_ms, LodgeProgress *progress, GError **error)
{
    g_autofree char *stick = NULL;
    if (!plug_stick(cli, name, &stick, error)) {
        return FALSE;
    }
    if (lodge_start(cli->store, name, option_paused, option_boot_once,
                    option_no_wait ? 0 : timeout_ms, progress, error)) {
        return TRUE;
    }
    draw_stick(cli, name, stick);
    return FALSE;
}

static int
compare_order(gconstpointer a, gconstpointer b)
{
    const LodgeGuest *one = *(const LodgeGuest *const *)a;
    const LodgeGuest *other = *(const LodgeGuest *const *)b;
    return one->start_order != other->start_order ? (one->start_order < other->start_order ? -1 : 1)
                                                  : strcmp(one->name, other->name);
}

/* The guests that start with the host, in the order in which they do. */
static GPtrArray *
autostart_guests(const LodgeStore *store, GError **error)
{
    g_autoptr(GPtrArray) wanted = g_ptr_array_new_with_free_func((GDestroyNotify)lodge_guest_free);
    g_auto(GStrv) names = lodge_store_guests(store, error);
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        g_autoptr(LodgeGuest) guest = lodge_store_guest(store, names[i], NULL);
        if (guest != NULL && guest->autostart) {
            g_ptr_array_add(wanted, g_steal_pointer(&guest));
        }
    }
    g_ptr_array_sort(wanted, compare_order);
    return names != NULL ? g_steal_pointer(&wanted) : NULL;
}

/* One after the other, each with its delay behind it; one that fails does not hold up the rest. */
static gboolean
start_all(LodgeCli *cli, GError **error)
{
    g_autoptr(GPtrArray) guests = autostart_guests(cli->store, error);
    g_autoptr(GError) first = NULL;
    for (guint i = 0; guests != NULL && i < guests->len; i++) {
        const LodgeGuest *guest = guests->pdata[i];
        char *names[] = {guest->name, NULL};
        g_autoptr(GError) problem = NULL;
        if (!for_each(cli, names, option_no_wait ? "is started" : "answers", start, "5m",
                      &problem) &&
            first == NULL) {
            first = g_steal_pointer(&problem);
        } else if (problem != NULL) {
            lodge_say(cli, "lodge: %s", problem->message);
        }
        if (i + 1 < guests->len && guest->start_delay_s != 0 &&
            !lodge_wait_for((gint64)guest->start_delay_s * 1000, error)) {
            return FALSE;
        }
    }
    if (first != NULL) {
        g_propagate_error(error, g_steal_pointer(&first));
        return FALSE;
    }
    return guests != NULL;
}

gboolean
lodge_cmd_start(LodgeCli *cli, int argc, char **argv, GError **error)
{
    if (option_autostart == (argc > 1)) {
        return lodge_error_set(error, LODGE_ERROR_USAGE, "start: name guests, or say --autostart");
    }
    if (option_usb_storage != NULL && argc != 2) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "start: --usb-storage is for one guest, as its file is");
    }
    if (option_autostart) {
        return start_all(cli, error);
    }
    const char *done = option_paused ? "is paused, ready to run" : "answers";
    done = option_no_wait && !option_paused ? "is started" : done;
    return for_each(cli, argv + 1, done, start, "5m", error);
}

static gboolean
stop(LodgeCli *cli, const char *name, gint64 timeout_ms, LodgeProgress *progress, GError **error)
{
    return lodge_stop(cli->store, name, timeout_ms, progress, error);
}

/* Names of the guests whose QEMU lives. */
static char **
running_guests(const LodgeStore *store, GError **error)
{
    g_autoptr(GPtrArray) running = g_ptr_array_new_with_free_func(g_free);
    g_auto(GStrv) names = lodge_store_guests(store, error);
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        g_autoptr(LodgeGuestState) state = lodge_store_state(store, names[i]);
        if (state->has_qemu) {
            g_ptr_array_add(running, g_strdup(names[i]));
        }
    }
    g_ptr_array_add(running, NULL);
    return names != NULL ? (char **)g_ptr_array_free(g_steal_pointer(&running), FALSE) : NULL;
}

typedef struct {
    LodgeCli *cli;
    gint64 began_us;
    json_t *results;
    GError *first;
} StopAll;

static void
on_stopped(const char *name, const GError *error, gpointer data)
{
    StopAll *all = data;
    gint64 time_ms = (g_get_monotonic_time() - all->began_us) / 1000;
    g_autofree char *time = lodge_duration_human(time_ms);
    json_array_append_new(all->results, json_pack("{s:s, s:b, s:I}", "name", name, "done",
                                                  error == NULL, "took_ms", (json_int_t)time_ms));
    if (error == NULL && !all->cli->json) {
        lodge_say(all->cli, "%s is stopped, after %s", name, time);
    } else if (error != NULL && all->first == NULL) {
        all->first = g_error_copy(error);
    } else if (error != NULL) {
        lodge_say(all->cli, "lodge: %s", error->message);
    }
}

static gboolean
stop_all(LodgeCli *cli, GError **error)
{
    gint64 timeout_ms = 0;
    if (!lodge_duration_parse(option_timeout != NULL ? option_timeout : "1m", &timeout_ms, error)) {
        return lodge_error_prefix(error, "--timeout");
    }
    g_auto(GStrv) names = running_guests(cli->store, error);
    if (names == NULL) {
        return FALSE;
    }
    g_autoptr(json_t) results = json_array();
    StopAll all = {cli, g_get_monotonic_time(), results, NULL};
    lodge_stop_many(cli->store, (const char *const *)names, timeout_ms, on_stopped, &all);
    if (all.first != NULL) {
        g_propagate_error(error, all.first);
        return FALSE;
    }
    if (cli->json) {
        lodge_print_json(g_steal_pointer(&results));
    }
    return TRUE;
}

gboolean
lodge_cmd_stop(LodgeCli *cli, int argc, char **argv, GError **error)
{
    if (option_all == (argc > 1)) {
        return lodge_error_set(error, LODGE_ERROR_USAGE, "stop: name guests, or say --all");
    }
    return option_all ? stop_all(cli, error)
                      : for_each(cli, argv + 1, "is stopped", stop, "1m", error);
}

static gboolean
kill_guest(LodgeCli *cli, const char *name, gint64 timeout_ms, LodgeProgress *progress,
           GError **error)
{
    (void)timeout_ms;
    return lodge_kill(cli->store, name, progress, error);
}

gboolean
lodge_cmd_kill(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    return for_each(cli, argv + 1, "is stopped", kill_guest, "1m", error);
}

static gboolean
restart(LodgeCli *cli, const char *name, gint64 timeout_ms, LodgeProgress *progress, GError **error)
{
    return lodge_restart(cli->store, name, option_force, timeout_ms, progress, error);
}

gboolean
lodge_cmd_restart(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    return for_each(cli, argv + 1, "answers", restart, "5m", error);
}

static gboolean
pause_guest(LodgeCli *cli, const char *name, gint64 timeout_ms, LodgeProgress *progress,
            GError **error)
{
    (void)timeout_ms;
    (void)progress;
    return lodge_pause(cli->store, name, error);
}

gboolean
lodge_cmd_pause(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    return for_each(cli, argv + 1, "is paused", pause_guest, "1m", error);
}

static gboolean
resume(LodgeCli *cli, const char *name, gint64 timeout_ms, LodgeProgress *progress, GError **error)
{
    (void)timeout_ms;
    (void)progress;
    return lodge_resume(cli->store, name, error);
}

gboolean
lodge_cmd_resume(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    return for_each(cli, argv + 1, "runs", resume, "1m", error);
}

/* What a deletion takes, and what it leaves. */
static void
print_plan(const LodgeCli *cli, const char *name)
{
    g_autofree char *folder = lodge_store_guest_path(cli->store, name, NULL);
    g_autofree char *size = lodge_size_human(lodge_tree_allocated(folder));
    g_autoptr(LodgeGuest) guest = lodge_store_guest(cli->store, name, NULL);
    fprintf(stderr, "%s goes, with all in %s (%s):\n", name, folder, size);
    g_auto(GStrv) files = lodge_dir_names(folder, NULL);
    for (gsize i = 0; files != NULL && files[i] != NULL; i++) {
        g_autofree char *path = g_build_filename(folder, files[i], NULL);
        g_autofree char *file_size = lodge_size_human(lodge_tree_allocated(path));
        fprintf(stderr, "  %-20s %10s\n", files[i], file_size);
    }
    for (guint i = 0; guest != NULL && i < guest->disks->len; i++) {
        const LodgeDisk *disk = guest->disks->pdata[i];
        if (g_path_is_absolute(disk->file)) {
            fprintf(stderr, "  %s stays: it is yours\n", disk->file);
        }
    }
}

static gboolean
delete_guest(LodgeCli *cli, const char *name, gint64 timeout_ms, LodgeProgress *progress,
             GError **error)
{
    (void)timeout_ms;
    return lodge_delete(cli->store, name, option_force, progress, error);
}

/* Do disks of the guest @name stand on some of @on's? */
static gboolean
stands_on(const LodgeCli *cli, const char *name, const char *on)
{
    g_autoptr(LodgeGuest) guest = lodge_store_guest(cli->store, name, NULL);
    g_autofree char *prefix = g_strconcat(on, "/", NULL);
    g_auto(GStrv) files = g_strsplit(
        guest != NULL && guest->forked_from != NULL ? guest->forked_from : "", " ", -1);
    for (gsize i = 0; files[i] != NULL; i++) {
        if (g_str_has_prefix(files[i], prefix)) {
            return TRUE;
        }
    }
    return FALSE;
}

/* Forks before what they stand on, else in the order given. */
static void
order_forks(const LodgeCli *cli, char **names, int count)
{
    for (int at = 0; at < count; at++) {
        for (int next = at; next < count; next++) {
            gboolean is_needed = FALSE;
            for (int i = at; i < count && !is_needed; i++) {
                is_needed = i != next && stands_on(cli, names[i], names[next]);
            }
            if (!is_needed) {
                char *name = names[next];
                memmove(&names[at + 1], &names[at], (gsize)(next - at) * sizeof *names);
                names[at] = name;
                break;
            }
        }
    }
}

gboolean
lodge_cmd_delete(LodgeCli *cli, int argc, char **argv, GError **error)
{
    order_forks(cli, argv + 1, argc - 1);
    for (int i = 1; i < argc && !lodge_option_yes; i++) {
        g_autoptr(GError) problem = NULL;
        g_autoptr(LodgeGuest) guest = lodge_store_guest(cli->store, argv[i], &problem);
        if (guest == NULL && !g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_INVALID)) {
            g_propagate_error(error, g_steal_pointer(&problem));
            return FALSE;
        }
        /* Nobody is asked about what can't be. Who needs the later ones may go before them. */
        if (i == 1 && !lodge_delete_check(cli->store, argv[i], option_force, error)) {
            return FALSE;
        }
        print_plan(cli, argv[i]);
    }
    if (!lodge_option_yes && !lodge_ask("Delete?", error)) {
        return FALSE;
    }
    return for_each(cli, argv + 1, "is deleted", delete_guest, "1m", error);
}
