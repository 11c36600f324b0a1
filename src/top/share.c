#include "config.h"

#include "top/share.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"

enum {
    READERS = 8, /* at once: those that hang, and one for who does not */
    MOMENT_MS = 30,
    SMALL_BYTES = 64 << 10,
};

typedef struct {
    TopShareRead read;
    pid_t pid;
    gboolean busy;
    gint64 bytes;
} Reader;

static GMutex lock;
static GCond told;
static Reader readers[READERS];

static gpointer
run(gpointer data)
{
    Reader *reader = data;
    g_mutex_lock(&lock);
    TopShareRead read = reader->read;
    pid_t pid = reader->pid;
    g_mutex_unlock(&lock);
    gint64 bytes = read(pid);
    g_mutex_lock(&lock);
    reader->bytes = bytes;
    reader->busy = FALSE;
    g_cond_broadcast(&told);
    g_mutex_unlock(&lock);
    return NULL;
}

/* Signals are the main thread's. */
static void
start(Reader *reader)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    GThread *thread = g_thread_try_new("share", run, reader, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    reader->busy = thread != NULL;
    g_clear_pointer(&thread, g_thread_unref);
}

/* The one that asks of @pid, or one that is free; NULL: all hang. */
static Reader *
find(pid_t pid)
{
    Reader *free_one = NULL;
    for (gsize i = 0; i < READERS; i++) {
        if (readers[i].pid == pid) {
            return &readers[i];
        }
        free_one = free_one == NULL && !readers[i].busy ? &readers[i] : free_one;
    }
    if (free_one != NULL) {
        *free_one = (Reader){.pid = pid, .bytes = -1};
    }
    return free_one;
}

gint64
top_share_by(TopShareRead read, pid_t pid, gint64 deadline)
{
    g_mutex_lock(&lock);
    Reader *reader = find(pid);
    if (reader != NULL && !reader->busy) {
        reader->read = read;
        start(reader);
    }
    while (reader != NULL && reader->busy && g_cond_wait_until(&told, &lock, deadline)) {
    }
    gint64 bytes = reader != NULL ? reader->bytes : -1;
    g_mutex_unlock(&lock);
    return bytes;
}

static gint64
ask_kernel(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/smaps_rollup", (int)pid);
    g_autofree char *text = lodge_file_read(path, SMALL_BYTES, NULL, NULL);
    const char *found = text != NULL ? strstr(text, "\nPss:") : NULL;
    return found != NULL ? g_ascii_strtoll(found + strlen("\nPss:"), NULL, 10) * 1024 : -1;
}

gint64
top_share_bytes(pid_t pid)
{
    return top_share_by(ask_kernel, pid, lodge_deadline_in(MOMENT_MS));
}
