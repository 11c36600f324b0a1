#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "qemu/qcow2.h"
#include "qemu/storage.h"
#include "qmp/qmp.h"

#define FUSE "/dev/fuse"

enum {
    START_TIMEOUT_MS = 60 * 1000,
    ANSWER_TIMEOUT_MS = 10 * 1000,
};

static void
add(GPtrArray *argv, const char *option, char *value)
{
    g_ptr_array_add(argv, g_strdup(option));
    g_ptr_array_add(argv, value);
}

/* A comma in a value is written twice. */
static char *
quoted(const char *text)
{
    g_auto(GStrv) parts = g_strsplit(text, ",", -1);
    return g_strjoinv(",,", parts);
}

/* Open it: whoever can write to @folder could put another file in its place later, or have a header
 * name one elsewhere. Who is confined can open no other by its name, and may not look at our
 * descriptors; to others its path becomes what was opened. */
static gboolean
hold_layer(LodgeLayer *layer, const char *folder, gboolean confined, GArray *files, GError **error)
{
    int fd = open(layer->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        return lodge_error_errno(error, errno, "%s", layer->path);
    }
    g_array_append_val(files, fd);
    g_autofree char *real = lodge_path_real(folder);
    g_autofree char *below = g_strconcat(real, "/", NULL);
    g_autofree char *held = g_strdup_printf("/proc/%d/fd/%d", (int)getpid(), fd);
    g_autofree char *there = g_file_read_link(held, NULL);
    if (there == NULL || !g_str_has_prefix(there, below)) {
        return lodge_error_set(error, LODGE_ERROR_INVALID, "%s is not in %s", layer->path, folder);
    }
    g_free(layer->path);
    layer->path = confined ? g_steal_pointer(&there) : g_steal_pointer(&held);
    return TRUE;
}

static gboolean
add_view(GPtrArray *argv, const LodgeStorageView *view, gsize number, gboolean by_nbd,
         GArray *files, GError **error)
{
    g_autofree char *node = g_strdup_printf("disk%zu", number);
    g_autofree char *file = quoted(view->file != NULL ? view->file : "");
    g_autoptr(GPtrArray) chain = lodge_disk_chain(view->path, "qcow2", error);
    for (guint depth = chain != NULL ? chain->len : 0; depth > 0; depth--) {
        if (!hold_layer(chain->pdata[depth - 1], view->folder, by_nbd, files, error)) {
            return FALSE;
        }
        g_autoptr(json_t) value = lodge_storage_node(chain, depth - 1, node, FALSE);
        char *text = json_dumps(value, JSON_COMPACT);
        add(argv, "--blockdev", g_strdup(text));
        free(text);
    }
    add(argv, "--export",
        by_nbd ? g_strdup_printf("type=nbd,id=show-%s,node-name=%s,name=%s,writable=off", node,
                                 node, view->name)
               : g_strdup_printf("type=fuse,id=show-%s,node-name=%s,mountpoint=%s,writable=off",
                                 node, node, file));
    return chain != NULL;
}

static void
close_file(gpointer data)
{
    lodge_fd_clear(data);
}

/* FUSE needs mount(), which nobody may who is confined. */
static gboolean
run(const GPtrArray *argv, const GArray *files, gboolean confined, GError **error)
{
    g_autoptr(GPtrArray) only = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(only, g_strdup("/dev/null")); /* where a daemon's words go */
    for (guint i = 0; i < files->len; i++) {
        g_ptr_array_add(only, g_strdup_printf("/proc/self/fd/%d", g_array_index(files, int, i)));
    }
    g_ptr_array_add(only, NULL);
    const LodgeProcess process = {.argv = (const char *const *)argv->pdata,
                                  .only = confined ? (const char *const *)only->pdata : NULL,
                                  .timeout_ms = START_TIMEOUT_MS};
    return lodge_process_run(&process, NULL, error);
}

gboolean
lodge_storage_can_fuse(GError **error)
{
    return access(FUSE, R_OK | W_OK) == 0 ||
           lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                           FUSE ": %s (`modprobe fuse`, or be allowed to use it)",
                           g_strerror(errno));
}

gboolean
lodge_storage_show(const LodgeStorageView *views, gsize count, const char *socket, const char *nbd,
                   GError **error)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GArray) files = g_array_new(FALSE, FALSE, sizeof(int));
    g_array_set_clear_func(files, close_file);
    g_autofree char *place = quoted(socket);
    g_autofree char *served = quoted(nbd != NULL ? nbd : "");
    g_ptr_array_add(argv, g_strdup("qemu-storage-daemon"));
    g_ptr_array_add(argv, g_strdup("--daemonize"));
    add(argv, "--chardev", g_strdup_printf("socket,id=monitor,server=on,wait=off,path=%s", place));
    add(argv, "--monitor", g_strdup("monitor"));
    if (nbd != NULL) {
        add(argv, "--nbd-server", g_strdup_printf("addr.type=unix,addr.path=%s", served));
    }
    for (gsize i = 0; i < count; i++) {
        if (!add_view(argv, &views[i], i, nbd != NULL, files, error)) {
            return FALSE;
        }
    }
    g_ptr_array_add(argv, NULL);
    return run(argv, files, nbd != NULL, error);
}

gboolean
lodge_storage_hide(const char *socket, GError **error)
{
    gint64 deadline = lodge_deadline_in(ANSWER_TIMEOUT_MS);
    g_autoptr(LodgeQmp) qmp = lodge_qmp_connect(socket, deadline, error);
    if (qmp == NULL || !lodge_qmp_run(qmp, deadline, error, "quit", NULL)) {
        return FALSE;
    }
    /* It ends the connection in its end. */
    g_autoptr(GError) closed = NULL;
    while (!lodge_qmp_is_closed(qmp)) {
        g_autoptr(json_t) event = lodge_qmp_next_event(qmp, deadline, &closed);
        if (event == NULL) {
            break;
        }
    }
    return lodge_qmp_is_closed(qmp) ||
           lodge_error_set(error, LODGE_ERROR_TIMEOUT, "qemu-storage-daemon does not end");
}
