/* Theory of operation: unbound, and dnsmasq on routed networks, have the host's DNS servers in
 * their configuration. Folders are watched, not the file, as it is replaced rather than written:
 * that of /etc/resolv.conf, that of what it leads to, and systemd-resolved's. What is written anew
 * and differs is told to its service: unbound reads it when it gets SIGHUP, dnsmasq when its keeper
 * starts it again. */
#include "config.h"

#include "net/resolv-watch.h"

#include <glib-unix.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/base.h"
#include "net/services.h"

enum {
    CONFIG_LIMIT_BYTES = 1 << 20,
};

typedef struct {
    const LodgeStore *store;
    const LodgeNetwork *network;
} Watch;

static char *
config_of(const Watch *watch, const LodgeService *service)
{
    g_autofree char *file = g_strconcat(service->name, ".conf", NULL);
    g_autofree char *path = lodge_store_network_run_path(watch->store, watch->network->name, file);
    return lodge_file_read(path, CONFIG_LIMIT_BYTES, NULL, NULL);
}

static void
tell_services(const Watch *watch)
{
    g_autoptr(GPtrArray) services = lodge_net_services(watch->store, watch->network);
    g_autoptr(GPtrArray) before = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; i < services->len; i++) {
        g_ptr_array_add(before, config_of(watch, services->pdata[i]));
    }
    if (!lodge_net_write_services(watch->store, watch->network, NULL)) {
        return;
    }
    for (guint i = 0; i < services->len; i++) {
        const LodgeService *service = services->pdata[i];
        g_autofree char *now = config_of(watch, service);
        lodge_autofd process = g_strcmp0(now, before->pdata[i]) != 0 ? lodge_service_open(service)
                                                                     : -1;
        if (process >= 0) {
            gboolean rereads = g_str_equal(service->name, "unbound");
            lodge_pid_fd_signal(process, rereads ? SIGHUP : SIGTERM, NULL);
        }
    }
}

static gboolean
on_change(gint fd, GIOCondition condition, gpointer data)
{
    (void)condition;
    _Alignas(struct inotify_event) char events[4096];
    gssize got = read(fd, events, sizeof events);
    gboolean concerns = FALSE;
    for (gssize at = 0; at < got;) {
        const struct inotify_event *event = (const struct inotify_event *)(events + at);
        concerns = concerns || (event->len > 0 && strstr(event->name, "resolv.conf") != NULL);
        at += (gssize)(sizeof *event + event->len);
    }
    if (concerns) {
        tell_services(data);
    }
    return G_SOURCE_CONTINUE;
}

void
lodge_resolv_watch(const LodgeStore *store, const LodgeNetwork *network)
{
    static const char *const files[] = {"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"};
    int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (fd < 0) {
        return;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(files); i++) {
        char *real_path = realpath(files[i], NULL); /* of malloc */
        g_autofree char *real = g_strdup(real_path);
        free(real_path);
        const char *const ways[] = {files[i], real};
        for (gsize w = 0; w < G_N_ELEMENTS(ways) && ways[w] != NULL; w++) {
            g_autofree char *folder = g_path_get_dirname(ways[w]);
            inotify_add_watch(fd, folder, IN_CLOSE_WRITE | IN_MOVED_TO);
        }
    }
    Watch *watch = g_new(Watch, 1);
    *watch = (Watch){store, network};
    g_unix_fd_add_full(G_PRIORITY_DEFAULT, fd, G_IO_IN, on_change, watch, g_free);
}
