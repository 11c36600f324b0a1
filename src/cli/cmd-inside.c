/* ssh, log: looking into a guest. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "ops/ops.h"

enum {
    LOG_LIMIT_BYTES = 64 << 20,
};

static char *option_user;
static gboolean option_follow, option_qemu, option_raw;
static int option_lines;

const GOptionEntry lodge_options_ssh[] = {
    {"user", 'l', 0, G_OPTION_ARG_STRING, &option_user, "Log in as", "NAME"},
    {NULL},
};

const GOptionEntry lodge_options_log[] = {
    {"lines", 'n', 0, G_OPTION_ARG_INT, &option_lines, "Only the last ones", "N"},
    {"follow", 'f', 0, G_OPTION_ARG_NONE, &option_follow, "Go on as it grows", NULL},
    {"qemu", 0, 0, G_OPTION_ARG_NONE, &option_qemu, "What QEMU itself said", NULL},
    {"raw", 0, 0, G_OPTION_ARG_NONE, &option_raw, "Control characters too, which a terminal obeys",
     NULL},
    {NULL},
};

gboolean
lodge_cmd_ssh(LodgeCli *cli, int argc, char **argv, GError **error)
{
    const char *const *words = (const char *const *)argv +
                               (argc > 2 && g_str_equal(argv[2], "--") ? 3 : 2);
    g_auto(GStrv) command = lodge_ssh_command(cli->store, argv[1], option_user, words, error);
    if (command == NULL) {
        return FALSE;
    }
    fflush(NULL);
    execvp(command[0], command);
    return lodge_error_errno(error, errno, "ssh (is an SSH client installed?)");
}

/* On a terminal, what a guest wrote must not move the cursor or the clipboard: colours and all else
 * that begins with an escape are dropped. */
static void
print_log(const char *text, gsize length, gboolean raw)
{
    for (gsize i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (raw || c == '\n' || c == '\t' || (c >= 0x20 && c != 0x7f)) {
            putchar(c);
        } else if (c == 0x1b && i + 1 < length && text[i + 1] == '[') {
            for (i += 2; i < length && (text[i] < 0x40 || text[i] > 0x7e);) {
                i++;
            }
        }
    }
    fflush(stdout);
}

static gsize
start_of_last_lines(const char *text, gsize length, int lines)
{
    gsize start = length;
    if (start > 0 && text[start - 1] == '\n') {
        start--;
    }
    while (start > 0 && (text[start - 1] != '\n' || --lines > 0)) {
        start--;
    }
    return start;
}

static gboolean
follow(const char *path, gsize from, gboolean raw, GError **error)
{
    lodge_autofd fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    lodge_autofd watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (fd < 0 || watch < 0 || inotify_add_watch(watch, path, IN_MODIFY) < 0) {
        return lodge_error_errno(error, errno, "%s", path);
    }
    off_t at = (off_t)from;
    for (;;) {
        char buffer[65536];
        struct stat info;
        if (fstat(fd, &info) == 0 && info.st_size < at) {
            at = 0; /* it was begun anew */
        }
        gssize got = pread(fd, buffer, sizeof buffer, at);
        if (got > 0) {
            print_log(buffer, (gsize)got, raw);
            at += got;
            continue;
        }
        g_autoptr(GError) problem = NULL;
        if (!lodge_wait_fd(watch, POLLIN, LODGE_NO_DEADLINE, &problem)) {
            return TRUE; /* Ctrl-C is how one leaves */
        }
        while (read(watch, buffer, sizeof buffer) > 0) {
        }
    }
}

gboolean
lodge_cmd_log(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    g_autoptr(LodgeGuest) guest = lodge_store_guest(cli->store, argv[1], error);
    if (guest == NULL) {
        return FALSE;
    }
    g_autofree char *path = option_qemu
                                ? lodge_store_run_path(cli->store, guest->name, "qemu.log")
                                : lodge_store_guest_path(cli->store, guest->name, "console.log");
    gsize length = 0;
    g_autoptr(GError) problem = NULL;
    g_autofree char *text = lodge_file_read(path, LOG_LIMIT_BYTES, &length, &problem);
    if (text == NULL) {
        if (g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_NOT_FOUND)) {
            lodge_say(cli, "Nothing yet: %s has not been started.", guest->name);
            return TRUE;
        }
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    gboolean raw = option_raw || !isatty(STDOUT_FILENO);
    gsize start = option_lines > 0 ? start_of_last_lines(text, length, option_lines) : 0;
    print_log(text + start, length - start, raw);
    return !option_follow || follow(path, length, raw, error);
}
