/* Theory of operation: a doorkeeper.
 *
 * QEMU's VNC server listens nowhere. This command listens instead, and hands each connection that
 * it accepts to QEMU. So a guest's screen can be reached just as long as somebody wants it to be:
 *
 *   unix    <run>/guests/NAME/vnc.sock, whose mode lets in its owner alone
 *   viewer  a loopback port for a viewer that takes no Unix socket; only connections of our own
 *           user are accepted
 *   listen  what --listen says; QEMU asks for the password, with --tls through lodge-vnc-tls */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"
#include "ops/listen.h"
#include "ops/view.h"
#include "ops/vnc-tls.h"
#include "ops/vnc.h"

enum {
    FIRST_PORT = 5900,
    LAST_PORT = 5999,
    PASSWORD_LIMIT_BYTES = 4096,
    ENCRYPTED_AT_MOST = 16, /* a process each, before anybody has said the password */
};

static char *option_listen, *option_password_file, *option_tls_folder;
static gboolean option_no_viewer, option_tls;

const GOptionEntry lodge_options_vnc[] = {
    {"listen", 0, 0, G_OPTION_ARG_STRING, &option_listen,
     "Let others in by TCP too; wants --password-file", "ADDRESS[:PORT]"},
    {"password-file", 0, 0, G_OPTION_ARG_FILENAME, &option_password_file,
     "Its first line is the password, at most 8 characters", "FILE"},
    {"no-viewer", 'n', 0, G_OPTION_ARG_NONE, &option_no_viewer, "Open none, tell the ways in",
     NULL},
    {"tls", 0, 0, G_OPTION_ARG_NONE, &option_tls,
     "Encrypt what --listen lets in, by a certificate of this host's own", NULL},
    {"tls-folder", 0, 0, G_OPTION_ARG_FILENAME, &option_tls_folder,
     "The same by server-cert.pem and server-key.pem in FOLDER", "FOLDER"},
    {NULL},
};

typedef struct {
    const LodgeCli *cli;
    const char *name;
    char *socket_path;
    int unix_fd, lock_fd;
    int viewer_fd, viewer_pid_fd;
    int listen_fd;
    int qemu_fd;
    guint viewer_port, listen_port;
    const LodgeVncViewer *viewer;
    GPid viewer_pid;
    gboolean viewer_came;
    gboolean has_password;
    LodgeVncTls tls; /* certificate NULL: none */
    pid_t encrypted[ENCRYPTED_AT_MOST];
} Door;

static void
door_clear(Door *door)
{
    if (door->unix_fd >= 0) {
        unlink(door->socket_path);
    }
    if (door->has_password) {
        /* Whoever is in stays; nobody else comes. */
        lodge_vnc_set_password(door->cli->store, door->name, NULL, NULL);
    }
    lodge_fd_clear(&door->unix_fd);
    lodge_fd_clear(&door->lock_fd);
    lodge_fd_clear(&door->viewer_fd);
    lodge_fd_clear(&door->viewer_pid_fd);
    lodge_fd_clear(&door->listen_fd);
    lodge_fd_clear(&door->qemu_fd);
    lodge_vnc_tls_clear(&door->tls);
    g_free(door->socket_path);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Door, door_clear)

static gboolean
check_options(GError **error)
{
    if ((option_tls || option_tls_folder != NULL) && option_listen == NULL) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "--tls is for --listen: nobody is between you and the Unix socket");
    }
    if ((option_listen != NULL) != (option_password_file != NULL)) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               option_listen != NULL
                                   ? "--listen lets others in: say --password-file FILE too"
                                   : "--password-file is for --listen: the Unix socket needs none");
    }
    return TRUE;
}

static gboolean
set_password(Door *door, GError **error)
{
    g_autofree char *text = lodge_file_read(option_password_file, PASSWORD_LIMIT_BYTES, NULL,
                                            error);
    if (text == NULL) {
        return FALSE;
    }
    text[strcspn(text, "\r\n")] = '\0';
    door->has_password = lodge_vnc_set_password(door->cli->store, door->name, text, error);
    return door->has_password;
}

static gboolean
open_unix(Door *door, GError **error)
{
    g_autoptr(GError) problem = NULL;
    door->socket_path = lodge_store_run_path(door->cli->store, door->name, "vnc.sock");
    door->unix_fd = lodge_vnc_listen_unix(door->cli->store, door->name, &door->lock_fd, &problem);
    /* Another `lodge vnc` has the door open already: so much the better. */
    if (door->unix_fd >= 0 || g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_BUSY)) {
        return TRUE;
    }
    g_propagate_error(error, g_steal_pointer(&problem));
    return FALSE;
}

static gboolean
open_doors(Door *door, GError **error)
{
    g_autofree char *lock = lodge_store_run_path(door->cli->store, door->name, "qemu.lock");
    gboolean has_desktop = g_getenv("DISPLAY") != NULL || g_getenv("WAYLAND_DISPLAY") != NULL;
    door->qemu_fd = lodge_lock_open_holder(lock, NULL);
    if (has_desktop && !option_no_viewer && option_listen == NULL) {
        door->viewer = lodge_vnc_viewer();
    }
    if (!open_unix(door, error)) {
        return FALSE;
    }
    if (door->viewer != NULL && !door->viewer->takes_unix) {
        door->viewer_fd = lodge_listen_tcp("127.0.0.1:0", 0, 0, &door->viewer_port, error);
        return door->viewer_fd >= 0;
    }
    if (option_listen == NULL) {
        return TRUE;
    }
    if ((option_tls || option_tls_folder != NULL) &&
        !lodge_vnc_tls_find(door->cli->store, option_tls_folder, &door->tls, error)) {
        return lodge_error_prefix(error, "--tls");
    }
    door->listen_fd = lodge_listen_tcp(option_listen, FIRST_PORT, LAST_PORT, &door->listen_port,
                                       error);
    return door->listen_fd >= 0 ? set_password(door, error) : lodge_error_prefix(error, "--listen");
}

static gboolean
start_viewer(Door *door, GError **error)
{
    const LodgeVncViewer *viewer = door->viewer;
    g_autofree char *port = g_strdup_printf("%u", door->viewer_port - viewer->port_less);
    g_auto(GStrv) parts = g_strsplit(viewer->format != NULL ? viewer->format : "%u", "%u", 2);
    g_autofree char *place = viewer->takes_unix ? g_strdup(door->socket_path)
                                                : g_strconcat(parts[0], port, parts[1], NULL);
    const char *argv[] = {viewer->program, viewer->before != NULL ? viewer->before : place, place,
                          NULL};
    if (viewer->before == NULL) {
        argv[2] = NULL;
    }
    g_autoptr(GError) problem = NULL;
    if (!g_spawn_async(NULL, (char **)argv, NULL,
                       G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD |
                           G_SPAWN_STDOUT_TO_DEV_NULL | G_SPAWN_STDERR_TO_DEV_NULL,
                       NULL, NULL, &door->viewer_pid, &problem)) {
        return lodge_error_set(error, LODGE_ERROR_FAILED, "%s (--no-viewer opens none)",
                               problem->message);
    }
    door->viewer_pid_fd = (int)syscall(SYS_pidfd_open, door->viewer_pid, 0);
    return TRUE;
}

static void
print_ways(const Door *door)
{
    const LodgeCli *cli = door->cli;
    if (cli->json) {
        lodge_print_json(json_pack(
            "{s:s, s:s, s:o, s:o, s:o, s:o}", "name", door->name, "socket", door->socket_path,
            "listen", lodge_json_string_or_null(option_listen), "certificate",
            lodge_json_string_or_null(door->tls.certificate), "port",
            door->listen_port != 0 ? json_integer(door->listen_port) : json_null(), "viewer",
            lodge_json_string_or_null(door->viewer != NULL ? door->viewer->program : NULL)));
        fflush(stdout);
        return;
    }
    if (door->viewer != NULL) {
        lodge_say(cli, "%s's screen is shown by %s.", door->name, door->viewer->program);
        return;
    }
    if (door->listen_fd >= 0) {
        lodge_say(cli,
                  "%s's screen, for who knows the password, %s:\n"
                  "  vncviewer %s%s%u",
                  door->name, door->tls.certificate != NULL ? "encrypted" : "unencrypted",
                  option_listen,
                  strchr(option_listen, ':') ? "  # port " : "::", door->listen_port);
    }
    if (door->tls.certificate != NULL) {
        g_autofree char *print = lodge_vnc_tls_fingerprint(&door->tls);
        lodge_say(cli, "  certificate %s%s%s", door->tls.certificate,
                  print != NULL ? ", SHA-256\n  " : "", print != NULL ? print : "");
    }
    g_autofree char *quoted = lodge_text_shell_quote(door->socket_path);
    lodge_say(cli,
              "%s's screen, for you alone, until Ctrl-C:\n"
              "  here, with TigerVNC:  vncviewer %s\n"
              "  from elsewhere:       ssh -L 5901:%s %s@%s\n"
              "                        and there: vncviewer localhost:1",
              door->name, quoted, quoted, g_get_user_name(), g_get_host_name());
}

/* A place among those who come encrypted; NULL: there are too many. */
static pid_t *
find_place(Door *door)
{
    for (gsize i = 0; i < ENCRYPTED_AT_MOST; i++) {
        pid_t *pid = &door->encrypted[i];
        if (*pid == 0 || waitpid(*pid, NULL, WNOHANG) != 0) {
            *pid = 0;
            return pid;
        }
    }
    return NULL;
}

static gboolean
hand_over(Door *door, int fd, gboolean vouched, GError **error)
{
    if (vouched || door->tls.certificate == NULL) {
        return lodge_vnc_hand_over(door->cli->store, door->name, fd, vouched, error);
    }
    pid_t *place = find_place(door);
    return place != NULL
               ? lodge_vnc_tls_hand_over(door->cli->store, door->name, fd, &door->tls, place, error)
               : lodge_error_set(error, LODGE_ERROR_BUSY,
                                 "%d viewers are in; one more was sent away", ENCRYPTED_AT_MOST);
}

static void
admit(Door *door, int listener, gboolean vouched)
{
    g_autoptr(GError) problem = NULL;
    lodge_autofd fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) {
        return;
    }
    if (listener == door->viewer_fd && !lodge_peer_is_own_user(fd)) {
        lodge_say(door->cli, "lodge: another user of this host knocked, and was sent away");
        return;
    }
    if (hand_over(door, fd, vouched, &problem)) {
        door->viewer_came = TRUE;
    } else {
        lodge_say(door->cli, "lodge: %s", problem->message);
    }
}

/* One that ended before it came to us was perhaps only a messenger to one that runs already. */
static gboolean
is_viewer_done(Door *door)
{
    waitpid(door->viewer_pid, NULL, WNOHANG);
    lodge_fd_clear(&door->viewer_pid_fd);
    if (!door->viewer_came) {
        lodge_say(door->cli, "%s ended without having come; waiting, Ctrl-C ends it",
                  door->viewer->program);
    }
    return door->viewer_came;
}

static gboolean
keep_door(Door *door, GError **error)
{
    for (;;) {
        struct pollfd polls[] = {
            {.fd = door->unix_fd, .events = POLLIN},
            {.fd = door->viewer_fd, .events = POLLIN},
            {.fd = door->listen_fd, .events = POLLIN},
            {.fd = door->viewer_pid_fd, .events = POLLIN},
            {.fd = door->qemu_fd, .events = POLLIN},
        };
        g_autoptr(GError) problem = NULL;
        if (!lodge_wait_polls(polls, G_N_ELEMENTS(polls), LODGE_NO_DEADLINE, &problem)) {
            lodge_interrupt_forget();
            return TRUE; /* Ctrl-C is how one leaves */
        }
        if (polls[4].revents != 0) {
            door->has_password = FALSE;
            return lodge_error_set(error, LODGE_ERROR_FAILED, "guest %s has ended", door->name);
        }
        if (polls[0].revents != 0) {
            admit(door, door->unix_fd, TRUE);
        }
        if (polls[1].revents != 0) {
            admit(door, door->viewer_fd, TRUE);
        }
        if (polls[2].revents != 0) {
            admit(door, door->listen_fd, FALSE);
        }
        if (polls[3].revents != 0 && is_viewer_done(door)) {
            return TRUE;
        }
    }
}

gboolean
lodge_cmd_vnc(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    g_auto(Door) door = {.cli = cli,
                         .name = argv[1],
                         .unix_fd = -1,
                         .lock_fd = -1,
                         .viewer_fd = -1,
                         .viewer_pid_fd = -1,
                         .listen_fd = -1,
                         .qemu_fd = -1};
    g_autoptr(LodgeGuestState) state = NULL;
    if (!check_options(error) || (state = lodge_view_check(cli->store, door.name, error)) == NULL ||
        !lodge_vnc_check(cli->store, door.name, error) || !open_doors(&door, error)) {
        return FALSE;
    }
    print_ways(&door);
    return (door.viewer == NULL || start_viewer(&door, error)) && keep_door(&door, error);
}
