#include "config.h"

#include "base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/confine.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/text.h"
#include "base/wait.h"

enum {
    KEEP_LIMIT_BYTES = 16 << 20,
    KEEP_ERRORS_BYTES = 64 << 10,
    TERM_GRACE_MS = 5000,
    AFTER_END_MS = 200,
};

/* One of the child's output streams: what came, and how far lines were handed out. */
typedef struct {
    int fd;
    GString *text;
    gsize limit_bytes;
    gsize given_bytes;
    LodgeLineFunc on_line;
} Stream;

static void
give_lines(Stream *stream, gboolean at_end, gpointer data)
{
    if (stream->on_line == NULL) {
        return;
    }
    char *start = stream->text->str + stream->given_bytes;
    for (char *end; (end = strpbrk(start, "\r\n")) != NULL; start = end + 1) {
        g_autofree char *line = g_strndup(start, (gsize)(end - start));
        if (*line != '\0') {
            stream->on_line(line, data);
        }
    }
    if (at_end && *start != '\0') {
        stream->on_line(start, data);
        start += strlen(start);
    }
    stream->given_bytes = (gsize)(start - stream->text->str);
}

/* Read what is there. FALSE once the stream has ended (it is closed then). */
static gboolean
stream_read(Stream *stream, gpointer data)
{
    char buffer[8192];
    gssize got = read(stream->fd, buffer, sizeof buffer);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) {
        return TRUE;
    }
    if (got <= 0) {
        give_lines(stream, TRUE, data);
        lodge_fd_clear(&stream->fd);
        return FALSE;
    }
    g_string_append_len(stream->text, buffer, got);
    give_lines(stream, FALSE, data);
    if (stream->text->len > stream->limit_bytes) {
        gsize surplus = stream->text->len - stream->limit_bytes;
        g_string_erase(stream->text, 0, (gssize)surplus);
        stream->given_bytes -= MIN(surplus, stream->given_bytes);
    }
    return TRUE;
}

static void
in_child(gpointer data)
{
    const int *confinement_fd = data;
    setpgid(0, 0);
    signal(SIGPIPE, SIG_DFL);
    /* Killed with SIGKILL, a command must not leave a half-done build or conversion at work. */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (*confinement_fd >= 0 && !lodge_confine_enter(*confinement_fd)) {
        _exit(126);
    }
}

static char **
environment_with(const char *const *additions)
{
    char **environment = g_get_environ();
    for (gsize i = 0; additions != NULL && additions[i] != NULL; i++) {
        const char *equals = strchr(additions[i], '=');
        g_autofree char *name = g_strndup(additions[i], (gsize)(equals - additions[i]));
        environment = g_environ_setenv(environment, name, equals + 1, TRUE);
    }
    return environment;
}

static void
write_input(int *fd, const char **input)
{
    gssize put = write(*fd, *input, strlen(*input));
    if (put > 0) {
        *input += put;
    }
    if (**input == '\0' || (put < 0 && errno != EAGAIN && errno != EINTR)) {
        lodge_fd_clear(fd);
    }
}

/* Move bytes until the child has closed both its outputs and ended. */
static gboolean
converse(const LodgeProcess *process, int pid_fd, int *input_fd, Stream *output, Stream *errors,
         gint64 deadline, GError **error)
{
    const char *input = process->input;
    gboolean ended = FALSE;
    gint64 until = deadline;
    while (!ended || output->fd >= 0 || errors->fd >= 0) {
        struct pollfd polls[] = {
            {.fd = ended ? -1 : pid_fd, .events = POLLIN},
            {.fd = *input_fd, .events = POLLOUT},
            {.fd = output->fd, .events = POLLIN},
            {.fd = errors->fd, .events = POLLIN},
        };
        g_autoptr(GError) problem = NULL;
        if (!lodge_wait_polls(polls, G_N_ELEMENTS(polls), until, &problem)) {
            if (ended && g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_TIMEOUT)) {
                return TRUE;
            }
            g_propagate_error(error, g_steal_pointer(&problem));
            return FALSE;
        }
        if (polls[1].revents != 0) {
            write_input(input_fd, &input);
        }
        if (polls[2].revents != 0) {
            stream_read(output, process->data);
        }
        if (polls[3].revents != 0) {
            stream_read(errors, process->data);
        }
        if (!ended && polls[0].revents != 0) {
            ended = TRUE;
            /* A grandchild may keep the pipes open, and write on: it is not waited for long. */
            until = lodge_deadline_in(AFTER_END_MS);
        }
    }
    return TRUE;
}

/* End the whole group, gently first; returns when its leader has ended. */
static void
end_group(GPid pid, int pid_fd)
{
    struct pollfd leader = {.fd = pid_fd, .events = POLLIN};
    kill(-pid, SIGTERM);
    if (poll(&leader, 1, TERM_GRACE_MS) <= 0) {
        kill(-pid, SIGKILL);
        poll(&leader, 1, -1);
    }
    kill(-pid, SIGKILL);
}

static gboolean
judge(const char *program, int status, const char *errors, GError **error)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        return TRUE;
    }
    g_autofree char *last = lodge_text_last_line(errors);
    g_autofree char *own = g_strconcat(program, ": ", NULL);
    if (*last != '\0') {
        gboolean says_name = g_str_has_prefix(last, own);
        return lodge_error_set(error, LODGE_ERROR_FAILED, "%s%s", says_name ? "" : own, last);
    }
    if (WIFSIGNALED(status)) {
        return lodge_error_set(error, LODGE_ERROR_FAILED, "%s: ended by signal %d (%s)", program,
                               WTERMSIG(status), g_strsignal(WTERMSIG(status)));
    }
    return lodge_error_set(error, LODGE_ERROR_FAILED, "%s: exit status %d", program,
                           WEXITSTATUS(status));
}

typedef struct {
    GPid pid;
    int pid_fd;
    int input_fd;
    int output_fd;
    int errors_fd;
} Child;

static void
child_clear(Child *child)
{
    lodge_fd_clear(&child->pid_fd);
    lodge_fd_clear(&child->input_fd);
    lodge_fd_clear(&child->output_fd);
    lodge_fd_clear(&child->errors_fd);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Child, child_clear)

static gboolean
start(const LodgeProcess *process, const char *path, Child *child, GError **error)
{
    g_auto(GStrv) argv = g_strdupv((char **)process->argv);
    g_free(argv[0]);
    argv[0] = g_strdup(path);
    g_auto(GStrv) environment = environment_with(process->environment);
    lodge_autofd confinement_fd = process->only != NULL ? lodge_confine_prepare(path, process->only)
                                                        : -1;
    if (!g_spawn_async_with_pipes(process->folder, argv, environment,
                                  G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_CLOEXEC_PIPES, in_child,
                                  &confinement_fd, &child->pid,
                                  process->input != NULL ? &child->input_fd : NULL,
                                  &child->output_fd, &child->errors_fd, error)) {
        return FALSE;
    }
    child->pid_fd = (int)syscall(SYS_pidfd_open, child->pid, 0);
    if (child->pid_fd < 0) {
        int saved_errno = errno;
        kill(child->pid, SIGKILL);
        waitpid(child->pid, NULL, 0);
        return lodge_error_errno(error, saved_errno, "Watching %s", path);
    }
    if (child->input_fd >= 0) {
        fcntl(child->input_fd, F_SETFL, O_NONBLOCK);
    }
    return TRUE;
}

gboolean
lodge_process_run(const LodgeProcess *process, char **out_output, GError **error)
{
    g_autofree char *path = lodge_program_find(process->argv[0]);
    if (path == NULL) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "program %s is not installed (`lodge check` names the package)",
                               process->argv[0]);
    }
    g_autofree char *program = g_path_get_basename(path);
    gint64 deadline = process->timeout_ms > 0 ? lodge_deadline_in(process->timeout_ms)
                                              : LODGE_NO_DEADLINE;
    g_auto(Child) child = {.pid_fd = -1, .input_fd = -1, .output_fd = -1, .errors_fd = -1};
    if (!start(process, path, &child, error)) {
        return FALSE;
    }
    g_autoptr(GString) output = g_string_new(NULL);
    g_autoptr(GString) errors = g_string_new(NULL);
    Stream output_stream = {lodge_fd_steal(&child.output_fd), output, KEEP_LIMIT_BYTES, 0,
                            process->on_line};
    Stream errors_stream = {lodge_fd_steal(&child.errors_fd), errors, KEEP_ERRORS_BYTES, 0,
                            process->on_error_line};
    gboolean fine = converse(process, child.pid_fd, &child.input_fd, &output_stream, &errors_stream,
                             deadline, error);
    if (!fine) {
        end_group(child.pid, child.pid_fd);
        lodge_error_prefix(error, "%s", program);
    }
    lodge_fd_clear(&output_stream.fd);
    lodge_fd_clear(&errors_stream.fd);
    int status = 0;
    while (waitpid(child.pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (!fine || !judge(program, status, errors->str, error)) {
        return FALSE;
    }
    if (out_output != NULL) {
        *out_output = g_string_free(g_steal_pointer(&output), FALSE);
    }
    return TRUE;
}

gboolean
lodge_process_run_argv(const char *const *argv, gint64 timeout_ms, char **out_output,
                       GError **error)
{
    return lodge_process_run(&(LodgeProcess){.argv = argv, .timeout_ms = timeout_ms}, out_output,
                             error);
}

char *
lodge_program_find(const char *name)
{
    static const char *const more[] = {"/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/libexec"};
    char *found = g_find_program_in_path(name);
    for (gsize i = 0; found == NULL && strchr(name, '/') == NULL && i < G_N_ELEMENTS(more); i++) {
        g_autofree char *path = g_build_filename(more[i], name, NULL);
        if (g_file_test(path, G_FILE_TEST_IS_EXECUTABLE)) {
            found = g_steal_pointer(&path);
        }
    }
    return found;
}

char *
lodge_program_own(const char *name, const char *installed_folder)
{
    char self[4096];
    gssize length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length > 0) {
        self[length] = '\0';
        g_autofree char *folder = g_path_get_dirname(self);
        /* In a build folder the source tree is known; nowhere else is a neighbour trusted. */
        if (g_str_equal(folder, LODGE_BUILD_DIR) || g_str_has_prefix(folder, LODGE_BUILD_DIR "/")) {
            char *built = g_build_filename(LODGE_BUILD_DIR, name, NULL);
            if (g_file_test(built, G_FILE_TEST_EXISTS)) {
                return built;
            }
            g_free(built);
            return g_build_filename(LODGE_SOURCE_DIR, name, NULL);
        }
    }
    return g_build_filename(installed_folder, name, NULL);
}
