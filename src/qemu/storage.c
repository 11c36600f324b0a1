#include "config.h"

#include "qemu/storage.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "qemu/qcow2.h"
#include "qmp/qmp.h"

#define PROGRAM "qemu-storage-daemon"
#define CHANGES "changes"

enum {
    MONITOR_FD = 3,
    ANSWER_TIMEOUT_MS = 60 * 1000,
    END_TIMEOUT_MS = 60 * 1000, /* it writes what it holds */
    KILL_TIMEOUT_MS = 10 * 1000,
    LOOK_MS = 200,
    GRANULARITY_BYTES = 64 << 10,
};

struct LodgeStorage {
    GPid pid;
    int pid_fd;
    LodgeQmp *qmp;
};

static void
in_child(gpointer unused)
{
    (void)unused;
    setpgid(0, 0); /* Ctrl-C is for us to unwind */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static gboolean
spawn(LodgeStorage *storage, const char *program, int fd, GError **error)
{
    const char *const argv[] = {program,     "--chardev", "socket,id=monitor,fd=3",
                                "--monitor", "monitor",   NULL};
    const int target = MONITOR_FD;
    GError *problem = NULL;
    if (!g_spawn_async_with_pipes_and_fds("/", argv, NULL,
                                          G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDOUT_TO_DEV_NULL |
                                              G_SPAWN_STDERR_TO_DEV_NULL,
                                          in_child, NULL, -1, -1, -1, &fd, &target, 1,
                                          &storage->pid, NULL, NULL, NULL, &problem)) {
        lodge_error_set(error, LODGE_ERROR_FAILED, "%s: %s", PROGRAM, problem->message);
        g_error_free(problem);
        return FALSE;
    }
    storage->pid_fd = (int)syscall(SYS_pidfd_open, storage->pid, 0);
    return TRUE;
}

LodgeStorage *
lodge_storage_start(GError **error)
{
    int fds[2];
    g_autofree char *program = lodge_program_find(PROGRAM);
    if (program == NULL) {
        lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                        "program " PROGRAM " is not installed (it comes with QEMU: package "
                        "qemu-system-common, qemu-img or qemu-tools)");
        return NULL;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
        lodge_error_errno(error, errno, "Starting " PROGRAM);
        return NULL;
    }
    lodge_autofd ours = fds[0];
    lodge_autofd theirs = fds[1];
    g_autoptr(LodgeStorage) storage = g_new0(LodgeStorage, 1);
    storage->pid_fd = -1;
    if (!spawn(storage, program, theirs, error)) {
        return NULL;
    }
    lodge_fd_clear(&theirs);
    storage->qmp = lodge_qmp_new(lodge_fd_steal(&ours));
    if (!lodge_qmp_handshake(storage->qmp, lodge_deadline_in(ANSWER_TIMEOUT_MS), error)) {
        lodge_error_prefix(error, PROGRAM);
        return NULL;
    }
    return g_steal_pointer(&storage);
}

static void
reap(LodgeStorage *storage, int *out_status)
{
    while (waitpid(storage->pid, out_status, 0) < 0 && errno == EINTR) {
    }
    storage->pid = 0;
}

gboolean
lodge_storage_end(LodgeStorage *storage, GError **error)
{
    int status = 0;
    if (!lodge_qmp_run(storage->qmp, lodge_deadline_in(ANSWER_TIMEOUT_MS), error, "quit", NULL)) {
        return FALSE;
    }
    if (!lodge_pid_fd_await(storage->pid_fd, END_TIMEOUT_MS)) {
        return lodge_error_set(error, LODGE_ERROR_TIMEOUT, PROGRAM " does not end");
    }
    reap(storage, &status);
    return (WIFEXITED(status) && WEXITSTATUS(status) == 0) ||
           lodge_error_set(error, LODGE_ERROR_FAILED, PROGRAM " failed in its end");
}

void
lodge_storage_free(LodgeStorage *storage)
{
    int status = 0;
    if (storage == NULL) {
        return;
    }
    if (storage->pid != 0) {
        kill(storage->pid, SIGKILL);
        lodge_pid_fd_await(storage->pid_fd, KILL_TIMEOUT_MS);
        reap(storage, &status);
    }
    lodge_fd_clear(&storage->pid_fd);
    lodge_qmp_free(storage->qmp);
    g_free(storage);
}

static json_t *
file_node(const LodgeLayer *layer, gboolean writable)
{
    return json_pack("{s:s, s:s, s:b, s:b, s:s}", "driver",
                     layer->is_block_device ? "host_device" : "file", "filename", layer->path,
                     "read-only", !writable, "force-share", !writable, "discard", "unmap");
}

static char *
node_at(const char *node, guint depth)
{
    return depth == 0 ? g_strdup(node) : g_strdup_printf("%s-%u", node, depth);
}

json_t *
lodge_storage_node(const GPtrArray *chain, guint depth, const char *node, gboolean writable)
{
    const LodgeLayer *layer = chain->pdata[depth];
    gboolean is_written = writable && depth == 0;
    g_autofree char *name = node_at(node, depth);
    g_autofree char *below = node_at(node, depth + 1);
    json_t *value = json_pack("{s:s, s:s, s:b, s:b, s:o}", "driver", layer->format, "node-name",
                              name, "read-only", !is_written, "force-share", !is_written, "file",
                              file_node(layer, is_written));
    if (g_str_equal(layer->format, "qcow2")) {
        /* Named, so that QEMU opens nothing by itself. */
        json_object_set_new(value, "backing",
                            depth + 1 < chain->len ? json_string(below) : json_null());
    }
    return value;
}

gboolean
lodge_storage_open(LodgeStorage *storage, const char *node, const GPtrArray *chain,
                   gboolean writable, GError **error)
{
    for (guint depth = chain->len; depth > 0; depth--) {
        const LodgeLayer *layer = chain->pdata[depth - 1];
        g_autoptr(json_t) done = lodge_qmp_call(
            storage->qmp, "blockdev-add", lodge_storage_node(chain, depth - 1, node, writable),
            lodge_deadline_in(ANSWER_TIMEOUT_MS), error);
        if (done == NULL) {
            return lodge_error_prefix(error, "%s", layer->path);
        }
    }
    return TRUE;
}

/* One bitmap of all, on the source's top, which only this process sees. */
static gboolean
gather_changes(LodgeStorage *storage, const LodgeStorageCopy *copy, GError **error)
{
    gint64 deadline = lodge_deadline_in(ANSWER_TIMEOUT_MS);
    json_t *list = json_array();
    for (guint i = 0; i < copy->bitmaps->len; i++) {
        const LodgeStorageBitmap *bitmap = &g_array_index(copy->bitmaps, LodgeStorageBitmap, i);
        g_autofree char *node = node_at(copy->source, bitmap->depth);
        json_array_append_new(list, json_pack("{s:s, s:s}", "node", node, "name", bitmap->name));
    }
    json_t *merge = json_pack("{s:s, s:s, s:o}", "node", copy->source, "target", CHANGES, "bitmaps",
                              list);
    if (!lodge_qmp_run(storage->qmp, deadline, error, "block-dirty-bitmap-add",
                       "{s:s, s:s, s:i, s:b}", "node", copy->source, "name", CHANGES, "granularity",
                       GRANULARITY_BYTES, "disabled", 1)) {
        json_decref(merge);
        return FALSE;
    }
    g_autoptr(json_t)
        done = lodge_qmp_call(storage->qmp, "block-dirty-bitmap-merge", merge, deadline, NULL);
    return done != NULL || lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                                           "what was noted of changes does not fit the disk");
}

static json_t *
backup_action(const LodgeStorageCopy *copy, gsize number)
{
    g_autofree char *id = g_strdup_printf("copy%zu", number);
    json_t *data = json_pack("{s:s, s:s, s:s, s:s, s:b, s:b}", "job-id", id, "device", copy->source,
                             "target", copy->target, "sync",
                             copy->bitmaps != NULL ? "bitmap" : "full", "compress", 1,
                             "auto-dismiss", 0);
    if (copy->bitmaps != NULL) {
        json_object_set_new(data, "bitmap", json_string(CHANGES));
        json_object_set_new(data, "bitmap-mode", json_string("never"));
    }
    return json_pack("{s:s, s:o}", "type", "blockdev-backup", "data", data);
}

static gboolean
begin(LodgeStorage *storage, const LodgeStorageCopy *copies, gsize count, GError **error)
{
    for (gsize i = 0; i < count; i++) {
        if (copies[i].bitmaps != NULL && !gather_changes(storage, &copies[i], error)) {
            return FALSE;
        }
    }
    json_t *actions = json_array();
    for (gsize i = 0; i < count; i++) {
        json_array_append_new(actions, backup_action(&copies[i], i));
    }
    g_autoptr(json_t) done = lodge_qmp_call(
        storage->qmp, "transaction",
        json_pack("{s:o, s:{s:s}}", "actions", actions, "properties", "completion-mode", "grouped"),
        lodge_deadline_in(ANSWER_TIMEOUT_MS), error);
    return done != NULL;
}

/* Look at all jobs. An error of one is everybody's; those that were ended for it have none. */
static gboolean
look(LodgeStorage *storage, gsize count, LodgeProgress *progress, gsize *out_ended,
     guint64 *out_bytes, GError **error)
{
    gsize i = 0;
    const json_t *job = NULL;
    json_int_t total = 0;
    json_int_t copied = 0;
    const char *problem = NULL;
    g_autoptr(json_t) jobs = lodge_qmp_ask(storage->qmp, lodge_deadline_in(ANSWER_TIMEOUT_MS),
                                           error, "query-jobs", NULL);
    *out_ended = 0;
    json_array_foreach (jobs, i, job) {
        const char *why = lodge_json_string(job, "error", NULL);
        total += lodge_json_int(job, "total-progress", 0);
        copied += lodge_json_int(job, "current-progress", 0);
        *out_ended += g_str_equal(lodge_json_string(job, "status", ""), "concluded");
        problem = why != NULL && (problem == NULL || g_str_has_suffix(problem, "canceled"))
                      ? why
                      : problem;
    }
    *out_bytes = (guint64)copied;
    if (jobs != NULL && problem != NULL && *out_ended == count) {
        g_autofree char *shown = lodge_text_printable(problem);
        return lodge_error_set(error, LODGE_ERROR_FAILED, "copying: %s", shown);
    }
    if (total > 0) {
        g_autofree char *done = lodge_size_human((guint64)copied);
        g_autofree char *of = lodge_size_human((guint64)total);
        g_autofree char *words = g_strdup_printf("%s of %s", done, of);
        lodge_progress_part(progress, (double)copied / (double)total, words);
    }
    return jobs != NULL;
}

gboolean
lodge_storage_copy(LodgeStorage *storage, const LodgeStorageCopy *copies, gsize count,
                   LodgeProgress *progress, guint64 *out_bytes, GError **error)
{
    gsize ended = 0;
    *out_bytes = 0;
    if (count == 0) {
        return TRUE;
    }
    if (!begin(storage, copies, count, error)) {
        return FALSE;
    }
    for (;;) {
        g_autoptr(GError) problem = NULL;
        g_autoptr(json_t)
            event = lodge_qmp_next_event(storage->qmp, lodge_deadline_in(LOOK_MS), &problem);
        if (event == NULL && !g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_TIMEOUT)) {
            g_propagate_error(error, g_steal_pointer(&problem));
            return FALSE;
        }
        if (!look(storage, count, progress, &ended, out_bytes, error)) {
            return FALSE;
        }
        if (ended == count) {
            return TRUE;
        }
    }
}
