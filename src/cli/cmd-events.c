/* events: what the keepers and commands wrote to <run>/events.jsonl. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"

enum {
    LINE_LIMIT_BYTES = 64 << 10,
};

static gboolean option_follow;
static char *option_since;

const GOptionEntry lodge_options_events[] = {
    {"follow", 'f', 0, G_OPTION_ARG_NONE, &option_follow, "Go on as they happen", NULL},
    {"since", 0, 0, G_OPTION_ARG_STRING, &option_since, "Only those of so long ago or less (10m)",
     "TIME"},
    {NULL},
};

typedef struct {
    const LodgeCli *cli;
    const char *guest; /* NULL: all */
    gint64 since_us;   /* of the Unix epoch */
    char *path;
    int fd;           /* -1: there is no file yet */
    gboolean any;     /* was one printed? */
    GString *pending; /* a line of which the end has not come */
} Events;

static void
events_clear(Events *events)
{
    lodge_fd_clear(&events->fd);
    g_free(events->path);
    g_string_free(events->pending, TRUE);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Events, events_clear)

/* What it is about, in the order of writing: an agent, a snapshot, a network and its service. Free
 * with g_free. */
static char *
about(const json_t *event)
{
    static const char *const said[] = {"time", "event", "guest", "reason"};
    g_autoptr(GString) words = g_string_new(NULL);
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)event, key, value) {
        gboolean is_said = FALSE;
        for (gsize i = 0; i < G_N_ELEMENTS(said); i++) {
            is_said = is_said || g_str_equal(key, said[i]);
        }
        if (!is_said && json_is_string(value)) {
            g_autofree char *word = lodge_text_printable(json_string_value(value));
            g_string_append_printf(words, " %s", word);
        }
    }
    return g_string_free(g_steal_pointer(&words), FALSE);
}

/* "2026-05-01 12:00:03  web1  crashed: QEMU was ended by signal 9 (Killed)" */
static void
print_event(const Events *events, const json_t *event, GDateTime *time)
{
    g_autoptr(GDateTime) local = g_date_time_to_local(time);
    g_autofree char *when = g_date_time_format(local, "%Y-%m-%d %H:%M:%S");
    g_autofree char *guest = lodge_text_printable(lodge_json_string(event, "guest", "-"));
    g_autofree char *name = lodge_text_printable(lodge_json_string(event, "event", "?"));
    g_autofree char *reason = lodge_text_printable(lodge_json_string(event, "reason", ""));
    g_autofree char *what = about(event);
    gboolean is_bad = strstr(name, "crash") != NULL || strstr(name, "fail") != NULL ||
                      strstr(name, "panic") != NULL || strstr(name, "error") != NULL;
    g_autofree char *shown = lodge_colour(events->cli->colour_out && is_bad, "red", name);
    printf("%s  %-15s  %s%s%s%s\n", when, guest, shown, what, *reason != '\0' ? ": " : "", reason);
}

static void
take_line(Events *events, const char *line, gsize length)
{
    g_autoptr(json_t) event = lodge_json_parse(line, length, "event", NULL);
    g_autoptr(GDateTime)
        time = g_date_time_new_from_iso8601(lodge_json_string(event, "time", ""), NULL);
    if (event == NULL || time == NULL) {
        return; /* a line that a full disk cut short */
    }
    gint64 time_us = g_date_time_to_unix(time) * G_USEC_PER_SEC + g_date_time_get_microsecond(time);
    if (time_us < events->since_us ||
        (events->guest != NULL &&
         g_strcmp0(events->guest, lodge_json_string(event, "guest", NULL)) != 0)) {
        return;
    }
    events->any = TRUE;
    if (!events->cli->json) {
        print_event(events, event, time);
        return;
    }
    printf("%.*s\n", (int)length, line);
}

/* Print the whole lines among what was not read yet. */
static void
read_lines(Events *events)
{
    char buffer[65536];
    for (gssize got; events->fd >= 0 && (got = read(events->fd, buffer, sizeof buffer)) > 0;) {
        g_string_append_len(events->pending, buffer, got);
        const char *start = events->pending->str;
        for (const char *end; (end = strchr(start, '\n')) != NULL; start = end + 1) {
            take_line(events, start, (gsize)(end - start));
        }
        g_string_erase(events->pending, 0, start - events->pending->str);
        if (events->pending->len > LINE_LIMIT_BYTES) {
            g_string_truncate(events->pending, 0);
        }
    }
    fflush(stdout);
}

static void
read_file(Events *events, const char *path)
{
    lodge_fd_clear(&events->fd);
    g_string_truncate(events->pending, 0);
    events->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    read_lines(events);
}

/* Was the file renamed away? Then its rest is read, and the new one from its start. */
static void
turn_over(Events *events)
{
    struct stat own = {0}, there = {0};
    if (stat(events->path, &there) == 0 &&
        (events->fd < 0 || fstat(events->fd, &own) < 0 || own.st_ino != there.st_ino)) {
        read_lines(events);
        read_file(events, events->path);
    }
}

static gboolean
follow(Events *events, GError **error)
{
    char buffer[4096];
    lodge_autofd watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    const char *folder = events->cli->store->run;
    if (!lodge_dir_make(folder, 0755, error)) {
        return FALSE;
    }
    /* The folder, not the file: that is renamed when it has grown. */
    if (watch < 0 || inotify_add_watch(watch, folder, IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0) {
        return lodge_error_errno(error, errno, "Watching %s", folder);
    }
    for (;;) {
        read_lines(events);
        turn_over(events);
        if (ferror(stdout)) {
            return TRUE;
        }
        if (!lodge_wait_fd(watch, POLLIN, LODGE_NO_DEADLINE, NULL)) {
            return TRUE; /* Ctrl-C is how one leaves */
        }
        while (read(watch, buffer, sizeof buffer) > 0) {
        }
    }
}

gboolean
lodge_cmd_events(LodgeCli *cli, int argc, char **argv, GError **error)
{
    gint64 since_ms = 0;
    g_auto(Events) events = {.cli = cli,
                             .guest = argc > 1 ? argv[1] : NULL,
                             .path = g_build_filename(cli->store->run, "events.jsonl", NULL),
                             .fd = -1,
                             .pending = g_string_new(NULL)};
    if (option_since != NULL) {
        if (!lodge_duration_parse(option_since, &since_ms, error)) {
            return lodge_error_prefix(error, "--since");
        }
        events.since_us = g_get_real_time() - since_ms * 1000;
    }
    /* A guest that was deleted has events too, so its name need only be one. */
    if (events.guest != NULL && !lodge_name_check("guest", events.guest, error)) {
        return FALSE;
    }
    g_autofree char *old = g_strconcat(events.path, ".1", NULL);
    read_file(&events, old);
    read_file(&events, events.path);
    if (option_follow) {
        return follow(&events, error);
    }
    /* Nothing of a guest that is not there either: it will be a slip. */
    g_autoptr(LodgeGuest) guest = events.guest != NULL && !events.any && option_since == NULL
                                      ? lodge_store_guest(cli->store, events.guest, error)
                                      : NULL;
    return events.guest == NULL || events.any || option_since != NULL || guest != NULL;
}
