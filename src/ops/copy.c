#include "config.h"

#include "ops/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "ops/guard.h"
#include "ops/way.h"

enum {
    CONNECT_TIMEOUT_MS = 30000,
    /* QEMU's agent: a piece at a time into memory, and some seconds for each. */
    QEMU_FILE_LIMIT_BYTES = 64 << 20,
    QEMU_TIMEOUT_MS = 10 * 60 * 1000,
};

/* --- What the user wrote --------------------------------------------------------------------- */

/* The path behind "GUEST:"; NULL if @word names none. */
static const char *
guest_part(const char *word)
{
    const char *colon = strchr(word, ':');
    const char *slash = strchr(word, '/');
    return colon != NULL && colon > word && (slash == NULL || colon < slash) ? colon + 1 : NULL;
}

gboolean
lodge_copy_parse(const char *from, const char *to, LodgeCopy *out_copy, GError **error)
{
    const char *source = guest_part(from);
    const char *target = guest_part(to);
    if ((source == NULL) == (target == NULL)) {
        return lodge_error_set(
            error, LODGE_ERROR_USAGE,
            source == NULL
                ? "neither %s nor %s is in a guest: one is to be GUEST:/PATH"
                : "both %s and %s are in guests (a file goes by `lodge cp FROM - | lodge cp - TO`, "
                  "a tree by a folder of this host's)",
            from, to);
    }
    const char *word = source != NULL ? from : to;
    const char *path = source != NULL ? source : target;
    if (*path != '/') {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "%s: the guest's path is to begin with / (a file of this host whose "
                               "name has a colon is ./%s)",
                               word, word);
    }
    *out_copy = (LodgeCopy){.guest = g_strndup(word, (gsize)(path - 1 - word)),
                            .guest_path = path,
                            .host_path = source != NULL ? to : from,
                            .into_guest = source == NULL};
    return TRUE;
}

/* --- By lodge-agent -------------------------------------------------------------------------- */

typedef struct {
    LodgeProgress *progress;
    guint64 whole; /* 0: unknown */
} Told;

static void
on_progress(guint64 done, const char *path, gpointer data)
{
    const Told *told = data;
    g_autofree char *done_text = lodge_size_human(done);
    g_autofree char *whole_text = lodge_size_human(told->whole);
    g_autofree char *words = told->whole > 0 ? g_strdup_printf("%s of %s", done_text, whole_text)
                                             : g_strdup(done_text);
    (void)path;
    lodge_progress_part(told->progress,
                        told->whole > 0 ? MIN((double)done / (double)told->whole, 1) : -1, words);
}

/* The size of a single file; 0 of all else. */
static guint64
size_of(LodgeAgent *agent, const LodgeCopy *copy)
{
    if (!copy->into_guest) {
        LodgeAgentKind kind;
        guint64 size = 0;
        gboolean known = lodge_agent_stat(agent, copy->guest_path, TRUE,
                                          lodge_deadline_in(CONNECT_TIMEOUT_MS), &kind, &size,
                                          NULL);
        return known && kind == LODGE_AGENT_FILE ? size : 0;
    }
    struct stat about;
    gboolean known = g_str_equal(copy->host_path, "-") ? fstat(STDIN_FILENO, &about) == 0
                                                       : stat(copy->host_path, &about) == 0;
    return known && S_ISREG(about.st_mode) ? (guint64)about.st_size : 0;
}

static gboolean
copy_by_lodge(const LodgeStore *store, LodgeAgent *agent, const LodgeCopy *copy,
              LodgeProgress *progress, LodgeCopied *out_copied, GError **error)
{
    g_autoptr(Guard) guard = guard_new(store, copy->guest, agent);
    Told told = {progress, size_of(agent, copy)};
    LodgeAgentCopy how = {.on_progress = on_progress, .data = &told};
    gboolean by_pipe = g_str_equal(copy->host_path, "-");
    gboolean fine;
    if (copy->into_guest) {
        fine = by_pipe ? lodge_agent_put_fd(agent, STDIN_FILENO, copy->guest_path, -1, &how, error)
                       : lodge_agent_copy_in(agent, copy->host_path, copy->guest_path, &how, error);
    } else {
        fine = by_pipe
                   ? lodge_agent_get_fd(agent, copy->guest_path, STDOUT_FILENO, &how, error)
                   : lodge_agent_copy_out(agent, copy->guest_path, copy->host_path, &how, error);
    }
    *out_copied = (LodgeCopied){how.out_files, how.out_bytes, how.out_skipped};
    return fine;
}

/* --- By QEMU's agent: one file, through memory ----------------------------------------------- */

static char *
read_host(const LodgeCopy *copy, gsize *out_length, GError **error)
{
    if (!g_str_equal(copy->host_path, "-")) {
        return lodge_file_read(copy->host_path, QEMU_FILE_LIMIT_BYTES, out_length, error);
    }
    g_autoptr(GString) all = g_string_new(NULL);
    char buffer[65536];
    for (gssize got = 1; got > 0;) {
        if (!lodge_wait_fd(STDIN_FILENO, POLLIN, LODGE_NO_DEADLINE, error)) {
            return NULL;
        }
        got = read(STDIN_FILENO, buffer, sizeof buffer);
        g_string_append_len(all, buffer, MAX(got, 0));
        if (all->len > QEMU_FILE_LIMIT_BYTES) {
            lodge_error_set(error, LODGE_ERROR_INVALID, "more than 64 MiB");
            return NULL;
        }
    }
    *out_length = all->len;
    return g_string_free(g_steal_pointer(&all), FALSE);
}

static gboolean
write_host(const LodgeCopy *copy, const char *content, gsize length, GError **error)
{
    if (g_str_equal(copy->host_path, "-")) {
        return fwrite(content, 1, length, stdout) == length && fflush(stdout) == 0
                   ? TRUE
                   : lodge_error_errno(error, errno, "Writing to standard output");
    }
    g_autofree char *name = g_path_get_basename(copy->guest_path);
    g_autofree char *path = g_file_test(copy->host_path, G_FILE_TEST_IS_DIR)
                                ? g_build_filename(copy->host_path, name, NULL)
                                : g_strdup(copy->host_path);
    return lodge_file_write(path, content, length, 0644, 0, error);
}

static gboolean
copy_by_qemu(LodgeGuestAgent *agent, const LodgeCopy *copy, LodgeCopied *out_copied, GError **error)
{
    gsize length = 0;
    gint64 deadline = lodge_deadline_in(QEMU_TIMEOUT_MS);
    if (copy->into_guest && g_file_test(copy->host_path, G_FILE_TEST_IS_DIR)) {
        return way_needs_lodge_agent(copy->guest, "whole folders", error);
    }
    g_autofree char *name = g_path_get_basename(copy->host_path);
    g_autofree char *target = g_str_has_suffix(copy->guest_path, "/")
                                  ? g_strconcat(copy->guest_path, name, NULL)
                                  : g_strdup(copy->guest_path);
    g_autofree char *content = copy->into_guest
                                   ? read_host(copy, &length, error)
                                   : lodge_guest_agent_file_read(agent, copy->guest_path,
                                                                 QEMU_FILE_LIMIT_BYTES, deadline,
                                                                 &length, error);
    if (content == NULL || !(copy->into_guest ? lodge_guest_agent_file_write(
                                                    agent, target, content, length, deadline, error)
                                              : write_host(copy, content, length, error))) {
        return error != NULL && g_error_matches(*error, LODGE_ERROR, LODGE_ERROR_INVALID)
                   ? lodge_error_prefix(error,
                                        "by QEMU's agent, which has no more than 64 MiB at a time "
                                        "(`lodge agent install %s` puts in one that has no limit)",
                                        copy->guest)
                   : FALSE;
    }
    *out_copied = (LodgeCopied){1, length, 0};
    return TRUE;
}

gboolean
lodge_copy(const LodgeStore *store, const LodgeCopy *copy, LodgeProgress *progress,
           LodgeCopied *out_copied, GError **error)
{
    g_auto(Way) way = WAY_NONE;
    LodgeCopied copied = {0};
    if (!way_open(store, copy->guest, lodge_deadline_in(CONNECT_TIMEOUT_MS), &way, error)) {
        return FALSE;
    }
    lodge_progress_stage(progress, copy->into_guest ? "copying into %s" : "copying from %s",
                         copy->guest);
    gboolean fine = way.lodge != NULL
                        ? copy_by_lodge(store, way.lodge, copy, progress, &copied, error)
                        : copy_by_qemu(way.qemu, copy, &copied, error);
    if (out_copied != NULL) {
        *out_copied = copied;
    }
    return fine || lodge_error_prefix(error, "guest %s", copy->guest);
}
