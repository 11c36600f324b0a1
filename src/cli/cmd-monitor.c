/* monitor: QEMU's own command line, for people and for programs. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/input.h"
#include "ops/listen.h"
#include "ops/view.h"

enum {
    COMMAND_TIMEOUT_MS = 60000,
};

static gboolean option_qmp;
static char *option_socket;

const GOptionEntry lodge_options_monitor[] = {
    {"qmp", 0, 0, G_OPTION_ARG_NONE, &option_qmp, "JSON commands, answers and events", NULL},
    {"socket", 0, 0, G_OPTION_ARG_STRING, &option_socket,
     "Listen there for your own programs' QMP clients, one at a time", "PATH|127.0.0.1:PORT"},
    {NULL},
};

/* --- The human's ------------------------------------------------------------------------------ */

static gboolean
run_human(LodgeCli *cli, const char *name, const char *command, GError **error)
{
    g_autofree char *text = lodge_monitor_human(cli->store, name, command, error);
    if (text == NULL) {
        return FALSE;
    }
    if (cli->json) {
        lodge_print_json(
            json_pack("{s:s, s:s, s:s}", "name", name, "command", command, "output", text));
    } else {
        printf("%s%s", text, *text == '\0' || g_str_has_suffix(text, "\n") ? "" : "\n");
        fflush(stdout);
    }
    return TRUE;
}

/* A prompt with history is a helper's work, so that no other command loads its library. */
static gboolean
run_prompt(const char *name, GError **error)
{
    g_autofree char *program = lodge_program_own("lodge-monitor", LODGE_LIBEXEC_DIR);
    fflush(NULL);
    execl(program, program, name, NULL);
    return lodge_error_errno(error, errno, "%s (is Lodge installed whole?)", program);
}

static gboolean
run_script(LodgeCli *cli, const char *name, GError **error)
{
    g_autoptr(LodgeInput) input = lodge_input_new(STDIN_FILENO);
    for (;;) {
        g_autoptr(GError) problem = NULL;
        g_autofree char *line = lodge_input_line(input, &problem);
        if (line == NULL && problem != NULL) {
            g_propagate_error(error, g_steal_pointer(&problem));
            return FALSE;
        }
        if (line == NULL) {
            return TRUE;
        }
        if (*g_strstrip(line) != '\0' && !run_human(cli, name, line, error)) {
            return FALSE;
        }
    }
}

/* --- The machine's ---------------------------------------------------------------------------- */

static void
print_line(json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT);
    puts(text != NULL ? text : "null");
    fflush(stdout);
    free(text);
    json_decref(value);
}

static void
print_events(LodgeQmp *qmp)
{
    for (json_t *event; (event = lodge_qmp_take_event(qmp)) != NULL;) {
        print_line(event);
    }
}

/* Run what a line says and print the answer. FALSE only if the connection is of no more use. */
static gboolean
answer_line(LodgeQmp *qmp, const char *line, GError **error)
{
    g_autofree char *command = NULL;
    json_t *arguments = NULL;
    g_autoptr(GError) problem = NULL;
    g_autoptr(json_t) whole = lodge_json_parse(line, strlen(line), "line", NULL);
    json_t *id = json_is_object(whole) ? json_object_get(whole, "id") : NULL;
    json_t *result = NULL;
    if (lodge_monitor_parse(line, &command, &arguments, &problem)) {
        result = lodge_qmp_call(qmp, command, arguments, lodge_deadline_in(COMMAND_TIMEOUT_MS),
                                &problem);
    }
    if (result == NULL && lodge_qmp_is_closed(qmp)) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    const char *class = lodge_qmp_error_class(qmp);
    json_t *answer = result != NULL ? json_pack("{s:o}", "return", result)
                                    : json_pack("{s:{s:s, s:s}}", "error", "class",
                                                class != NULL ? class : "GenericError", "desc",
                                                problem->message);
    if (id != NULL) {
        json_object_set(answer, "id", id);
    }
    print_events(qmp);
    print_line(answer);
    return TRUE;
}

static gboolean
run_qmp_lines(LodgeView *view, GError **error)
{
    g_autoptr(LodgeInput) input = lodge_input_new(STDIN_FILENO);
    for (;;) {
        g_autoptr(GError) problem = NULL;
        struct pollfd polls[] = {{.fd = STDIN_FILENO, .events = POLLIN},
                                 {.fd = lodge_qmp_fd(view->qmp), .events = POLLIN}};
        g_autofree char *line = lodge_input_ready_line(input);
        if (line == NULL && lodge_input_at_end(input)) {
            return TRUE;
        }
        if (line == NULL &&
            !lodge_wait_polls(polls, G_N_ELEMENTS(polls), LODGE_NO_DEADLINE, error)) {
            return FALSE;
        }
        if (line == NULL && polls[1].revents != 0) {
            gboolean open = lodge_qmp_pump(view->qmp, &problem);
            print_events(view->qmp);
            if (!open) {
                return lodge_error_set(error, LODGE_ERROR_FAILED, "guest %s has ended", view->name);
            }
        }
        if (line == NULL && polls[0].revents != 0) {
            lodge_input_read(input);
        }
        if (line != NULL && *g_strstrip(line) != '\0' && !answer_line(view->qmp, line, error)) {
            return lodge_error_prefix(error, "guest %s", view->name);
        }
    }
}

static gboolean
run_qmp(LodgeCli *cli, const char *name, const char *text, GError **error)
{
    g_autofree char *command = NULL;
    json_t *arguments = NULL;
    if (text != NULL && !lodge_monitor_parse(text, &command, &arguments, error)) {
        return FALSE;
    }
    g_autoptr(LodgeView) view = lodge_view_begin(cli->store, name, error);
    if (view == NULL) {
        json_decref(arguments);
        return FALSE;
    }
    if (text == NULL) {
        return run_qmp_lines(view, error);
    }
    json_t *result = lodge_qmp_call(view->qmp, command, arguments,
                                    lodge_deadline_in(COMMAND_TIMEOUT_MS), error);
    if (result == NULL) {
        return lodge_error_prefix(error, "guest %s", name);
    }
    lodge_print_json(result);
    return TRUE;
}

/* --- Other programs' -------------------------------------------------------------------------- */

/* Copy what can be read from @from. FALSE when it has ended, or @to takes no more. */
static gboolean
carry(int from, int to)
{
    char buffer[65536];
    gssize got = read(from, buffer, sizeof buffer);
    for (gssize done = 0; done < got;) {
        gssize sent = send(to, buffer + done, (gsize)(got - done), MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR) {
            return FALSE;
        }
        done += MAX(sent, 0);
    }
    return got > 0;
}

/* Serve one client until it or QEMU leaves. FALSE only if we are to end. */
static gboolean
serve(LodgeCli *cli, const char *name, int client, GError **error)
{
    g_autoptr(GError) problem = NULL;
    g_autofree char *path = lodge_store_run_path(cli->store, name, "view.qmp");
    lodge_autofd lock = lodge_view_lock(cli->store, name, &problem);
    lodge_autofd qemu = lock >= 0 ? lodge_unix_connect(path, &problem) : -1;
    if (qemu < 0) {
        lodge_say(cli, "lodge: a client was sent away: %s", problem->message);
        return TRUE;
    }
    for (;;) {
        struct pollfd polls[] = {{.fd = client, .events = POLLIN}, {.fd = qemu, .events = POLLIN}};
        if (!lodge_wait_polls(polls, G_N_ELEMENTS(polls), LODGE_NO_DEADLINE, error)) {
            return FALSE;
        }
        if ((polls[0].revents != 0 && !carry(client, qemu)) ||
            (polls[1].revents != 0 && !carry(qemu, client))) {
            return TRUE;
        }
    }
}

static int
open_socket(const char *place, GError **error)
{
    guint port = 0;
    if (strchr(place, '/') != NULL) {
        g_autoptr(GError) problem = NULL;
        lodge_autofd there = lodge_unix_connect(place, &problem);
        if (there >= 0 ||
            (problem != NULL && !g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_NOT_FOUND))) {
            lodge_error_set(error, LODGE_ERROR_EXISTS, "%s: something is there already", place);
            return -1;
        }
        return lodge_unix_listen(place, 0600, error);
    }
    lodge_autofd fd = lodge_listen_tcp(place, 0, 0, &port, error);
    if (fd >= 0 && !lodge_listen_is_loopback(fd)) {
        lodge_error_set(error, LODGE_ERROR_USAGE,
                        "%s: a monitor is for this host alone: write 127.0.0.1:PORT, and let `ssh "
                        "-L` carry it",
                        place);
        return -1;
    }
    return lodge_fd_steal(&fd);
}

static gboolean
wait_client(int listener, int qemu, const char *name, GError **error)
{
    struct pollfd polls[] = {{.fd = listener, .events = POLLIN}, {.fd = qemu, .events = POLLIN}};
    if (!lodge_wait_polls(polls, G_N_ELEMENTS(polls), LODGE_NO_DEADLINE, error)) {
        return FALSE;
    }
    return polls[1].revents == 0 ||
           lodge_error_set(error, LODGE_ERROR_FAILED, "guest %s has ended", name);
}

static gboolean
run_socket(LodgeCli *cli, const char *name, GError **error)
{
    g_autoptr(LodgeGuestState) state = lodge_view_check(cli->store, name, error);
    lodge_autofd listener = state != NULL ? open_socket(option_socket, error) : -1;
    if (listener < 0) {
        return state == NULL ? FALSE : lodge_error_prefix(error, "--socket");
    }
    g_autofree char *lock = lodge_store_run_path(cli->store, name, "qemu.lock");
    lodge_autofd qemu = lodge_lock_open_holder(lock, NULL);
    gboolean is_path = strchr(option_socket, '/') != NULL;
    g_autoptr(GError) problem = NULL;
    lodge_say(cli, "%s's QMP, for you alone, at %s until Ctrl-C", name, option_socket);
    while (wait_client(listener, qemu, name, &problem)) {
        lodge_autofd client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (client >= 0 && !is_path && !lodge_peer_is_own_user(client)) {
            lodge_say(cli, "lodge: another user of this host knocked, and was sent away");
        } else if (client >= 0 && !serve(cli, name, client, &problem)) {
            break;
        }
    }
    if (is_path) {
        unlink(option_socket);
    }
    if (g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_INTERRUPTED)) {
        return TRUE; /* Ctrl-C is how one leaves */
    }
    g_propagate_error(error, g_steal_pointer(&problem));
    return FALSE;
}

gboolean
lodge_cmd_monitor(LodgeCli *cli, int argc, char **argv, GError **error)
{
    int first = argc > 2 && g_str_equal(argv[2], "--") ? 3 : 2;
    const char *name = argv[1];
    g_autofree char *text = g_strjoinv(" ", argv + first);
    if (option_socket != NULL) {
        return argc == first ? run_socket(cli, name, error)
                             : lodge_error_set(error, LODGE_ERROR_USAGE,
                                               "monitor: --socket takes no command");
    }
    if (option_qmp) {
        return run_qmp(cli, name, argc > first ? text : NULL, error);
    }
    if (argc > first) {
        return run_human(cli, name, text, error);
    }
    g_autoptr(LodgeGuestState) state = lodge_view_check(cli->store, name, error);
    if (state == NULL) {
        return FALSE;
    }
    return isatty(STDIN_FILENO) ? run_prompt(name, error) : run_script(cli, name, error);
}
