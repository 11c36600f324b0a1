/* The client against the QEMU that is installed. Skipped if there is none. */
#include "config.h"

#include <fcntl.h>
#include <glib-unix.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "base/base.h"
#include "qmp/qmp.h"

#define QEMU "qemu-system-x86_64"
#define DEADLINE lodge_deadline_in(30000)

typedef struct {
    char *folder;
    char *socket_path;
    GPid pid;
} Machine;

static gboolean
machine_start(Machine *machine, const char *type)
{
    g_autofree char *program = lodge_program_find(QEMU);
    if (program == NULL) {
        g_test_skip(QEMU " is not installed");
        return FALSE;
    }
    machine->folder = g_dir_make_tmp("lodge-qmp-XXXXXX", NULL);
    machine->socket_path = g_build_filename(machine->folder, "qmp", NULL);
    g_autofree char *monitor = g_strdup_printf("unix:%s,server=on,wait=off", machine->socket_path);
    const char *argv[] = {program,    "-M",   type,          "-accel", "tcg",   "-S",
                          "-display", "none", "-nodefaults", "-qmp",   monitor, NULL};
    g_autoptr(GError) error = NULL;
    g_spawn_async(NULL, (char **)argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL, &machine->pid,
                  &error);
    g_assert_no_error(error);
    return TRUE;
}

static LodgeQmp *
machine_connect(const Machine *machine)
{
    gint64 deadline = DEADLINE;
    for (;;) {
        g_autoptr(GError) error = NULL;
        LodgeQmp *qmp = lodge_qmp_connect(machine->socket_path, deadline, &error);
        if (qmp != NULL) {
            return qmp;
        }
        g_assert_error(error, LODGE_ERROR, LODGE_ERROR_NOT_FOUND);
        g_assert_false(lodge_deadline_passed(deadline));
        g_assert_true(lodge_wait_for(20, NULL));
    }
}

static void
machine_end(Machine *machine)
{
    kill(machine->pid, SIGKILL);
    waitpid(machine->pid, NULL, 0);
    lodge_tree_remove(machine->folder, NULL);
    g_free(machine->folder);
    g_free(machine->socket_path);
}

static void
test_commands(void)
{
    Machine machine = {0};
    if (!machine_start(&machine, "none")) {
        return;
    }
    g_autoptr(LodgeQmp) qmp = machine_connect(&machine);
    g_autoptr(GError) error = NULL;
    g_assert_cmpint(lodge_qmp_version(qmp), >=, 50000);

    g_autoptr(json_t) version = lodge_qmp_call(qmp, "query-version", NULL, DEADLINE, &error);
    g_assert_no_error(error);
    const json_t *parts = json_object_get(version, "qemu");
    g_assert_cmpint(lodge_json_int(parts, "major", 0), ==, lodge_qmp_version(qmp) / 10000);
    g_assert_null(lodge_qmp_error_class(qmp));

    g_assert_false(lodge_qmp_run(qmp, DEADLINE, &error, "no-such-thing", NULL));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_UNSUPPORTED);
    g_assert_true(g_str_has_prefix(error->message, "no-such-thing: "));
    g_assert_cmpstr(lodge_qmp_error_class(qmp), ==, "CommandNotFound");
    g_clear_error(&error);

    g_assert_false(lodge_qmp_run(qmp, DEADLINE, &error, "device_del", "{s:s}", "id", "nic9"));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_NOT_FOUND);
    g_clear_error(&error);

    /* The largest reply that QEMU has. */
    g_autoptr(json_t) schema = lodge_qmp_call(qmp, "query-qmp-schema", NULL, DEADLINE, &error);
    g_assert_no_error(error);
    g_assert_cmpint(json_array_size(schema), >, 100);
    machine_end(&machine);
}

static void
test_descriptor(void)
{
    Machine machine = {0};
    if (!machine_start(&machine, "none")) {
        return;
    }
    g_autoptr(LodgeQmp) qmp = machine_connect(&machine);
    g_autoptr(GError) error = NULL;
    lodge_autofd fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    g_autoptr(json_t) set = lodge_qmp_call_fd(qmp, "add-fd", json_pack("{s:i}", "fdset-id", 7), fd,
                                              DEADLINE, &error);
    g_assert_no_error(error);
    g_assert_cmpint(lodge_json_int(set, "fdset-id", 0), ==, 7);
    g_assert_cmpint(lodge_json_int(set, "fd", -1), >=, 0);
    g_assert_cmpint(fcntl(fd, F_GETFD), >=, 0);

    /* The same without one shows that it was the descriptor that counted. */
    g_assert_false(lodge_qmp_run(qmp, DEADLINE, &error, "add-fd", "{s:i}", "fdset-id", 7));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_FAILED);
    machine_end(&machine);
}

static void
test_events_and_end(void)
{
    Machine machine = {0};
    if (!machine_start(&machine, "q35")) {
        return;
    }
    g_autoptr(LodgeQmp) qmp = machine_connect(&machine);
    g_autoptr(GError) error = NULL;
    g_assert_true(lodge_qmp_run(qmp, DEADLINE, &error, "cont", NULL));
    g_assert_true(lodge_qmp_run(qmp, DEADLINE, &error, "stop", NULL));
    g_autoptr(json_t) stopped = lodge_qmp_wait_event(qmp, "STOP", NULL, NULL, DEADLINE, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(lodge_qmp_event_name(stopped), ==, "STOP");
    g_autoptr(json_t) resumed = lodge_qmp_next_event(qmp, DEADLINE, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(lodge_qmp_event_name(resumed), ==, "RESUME");

    g_assert_true(lodge_qmp_run(qmp, DEADLINE, &error, "quit", NULL));
    g_autoptr(json_t) end = lodge_qmp_wait_event(qmp, "SHUTDOWN", NULL, NULL, DEADLINE, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(lodge_json_string(lodge_qmp_event_data(end), "reason", ""), ==,
                    "host-qmp-quit");
    g_assert_null(lodge_qmp_next_event(qmp, DEADLINE, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_FAILED);
    g_assert_cmpstr(error->message, ==, "QEMU closed the connection");
    g_assert_true(lodge_qmp_is_closed(qmp));
    machine_end(&machine);
}

typedef struct {
    GMainLoop *loop;
    LodgeQmp *qmp;
    char *status;
    GString *events;
} Keeper;

static void
on_status(LodgeQmp *qmp, const json_t *result, const GError *error, gpointer data)
{
    Keeper *keeper = data;
    g_assert_no_error(error);
    keeper->status = g_strdup(lodge_json_string(result, "status", ""));
    g_assert_cmpuint(lodge_qmp_send(qmp, "quit", NULL, -1, NULL, NULL, NULL), !=, 0);
}

static gboolean
on_readable(gint fd, GIOCondition condition, gpointer data)
{
    (void)fd;
    (void)condition;
    Keeper *keeper = data;
    gboolean open = lodge_qmp_pump(keeper->qmp, NULL);
    json_t *event;
    while ((event = lodge_qmp_take_event(keeper->qmp)) != NULL) {
        g_string_append_printf(keeper->events, "%s ", lodge_qmp_event_name(event));
        json_decref(event);
    }
    if (!open) {
        g_main_loop_quit(keeper->loop);
    }
    return open;
}

static void
test_main_loop(void)
{
    Machine machine = {0};
    if (!machine_start(&machine, "q35")) {
        return;
    }
    gint64 deadline = DEADLINE;
    lodge_autofd fd = -1;
    while ((fd = lodge_unix_connect(machine.socket_path, NULL)) < 0) {
        g_assert_false(lodge_deadline_passed(deadline));
        g_assert_true(lodge_wait_for(20, NULL));
    }
    g_autoptr(LodgeQmp) qmp = lodge_qmp_new(lodge_fd_steal(&fd));
    g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
    g_autoptr(GString) events = g_string_new("");
    Keeper keeper = {.loop = loop, .qmp = qmp, .events = events};
    /* Before the greeting: they are held until the hands are shaken. */
    g_assert_cmpuint(lodge_qmp_send(qmp, "cont", NULL, -1, NULL, NULL, NULL), !=, 0);
    g_assert_cmpuint(lodge_qmp_send(qmp, "query-status", NULL, -1, on_status, &keeper, NULL), !=,
                     0);
    g_unix_fd_add(lodge_qmp_fd(qmp), G_IO_IN, on_readable, &keeper);
    g_main_loop_run(loop);
    g_assert_cmpstr(keeper.status, ==, "running");
    g_assert_cmpstr(events->str, ==, "RESUME SHUTDOWN ");
    g_free(keeper.status);
    machine_end(&machine);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/qmp/real/commands", test_commands);
    g_test_add_func("/qmp/real/descriptor", test_descriptor);
    g_test_add_func("/qmp/real/events-and-end", test_events_and_end);
    g_test_add_func("/qmp/real/main-loop", test_main_loop);
    return g_test_run();
}
