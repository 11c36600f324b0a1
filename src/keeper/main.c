/* lodge-keeper GUEST: see guest-run.c. */
#include "config.h"

#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/base.h"
#include "keeper/guest-run.h"

/* Tell systemd, if it started us (sd_notify(3), the protocol is one datagram). */
static void
notify_systemd(const char *text)
{
    const char *path = g_getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (path == NULL || strlen(path) >= sizeof address.sun_path) {
        return;
    }
    strcpy(address.sun_path, path);
    if (*path == '@') {
        address.sun_path[0] = '\0';
    }
    lodge_autofd fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    if (fd >= 0) {
        sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&address, size);
    }
}

static int
fail(const GError *error)
{
    fprintf(stderr, "lodge-keeper: %s\n", error->message);
    return lodge_error_exit_status(error);
}

int
main(int argc, char **argv)
{
    int report_fd = -1;
    gboolean paused = FALSE;
    gboolean incoming = FALSE;
    gboolean adopt = FALSE;
    const GOptionEntry entries[] = {
        {"report-fd", 0, 0, G_OPTION_ARG_INT, &report_fd, "Say there how starting went", "FD"},
        {"paused", 0, 0, G_OPTION_ARG_NONE, &paused, "Start without running the guest's CPUs",
         NULL},
        {"incoming", 0, 0, G_OPTION_ARG_NONE, &incoming,
         "Start it to wait for the guest's memory, and without running its CPUs", NULL},
        {"adopt", 0, 0, G_OPTION_ARG_NONE, &adopt, "Take over a QEMU that runs, start none", NULL},
        {NULL},
    };
    g_autoptr(GError) error = NULL;
    g_autoptr(GOptionContext) context = g_option_context_new("GUEST");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        return fail(error);
    }
    if (argc != 2) {
        fprintf(stderr, "lodge-keeper: one guest's name is needed; `lodge start` calls it right\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN); /* until its meaning has a handler: see guest-run.c */
    g_autoptr(LodgeStore) store = lodge_store_open(&error);
    if (store == NULL || !lodge_name_check("guest", argv[1], &error)) {
        return fail(error);
    }
    KeeperTask task = adopt      ? KEEPER_ADOPT
                      : incoming ? KEEPER_START_INCOMING
                      : paused   ? KEEPER_START_PAUSED
                                 : KEEPER_START;
    g_autoptr(Keeper) keeper = keeper_new(store, argv[1], report_fd, &error);
    if (keeper == NULL || !keeper_begin(keeper, task, &error)) {
        return fail(error);
    }
    notify_systemd("READY=1");
    keeper_run(keeper);
    return EXIT_SUCCESS;
}
