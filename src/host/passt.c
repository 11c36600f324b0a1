#include "config.h"

#include "host/passt.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "host/check.h"

enum {
    VERSION_TIMEOUT_MS = 5000,
    TEXT_BYTES = 2048,
    NAME_BYTES = 64,
    CACHE_LIMIT_BYTES = 4096,
    DATE_DIGITS = 8,
    FIRST_YEAR = 2020,
    LAST_YEAR = 2099,
};

/* Eight digits, between which underscores may stand; 0 if it is no date that passt can have. */
static guint
date_at(const char *text)
{
    guint date = 0;
    guint digits = 0;
    for (; digits < DATE_DIGITS && (g_ascii_isdigit(*text) || (*text == '_' && digits > 0));
         text++) {
        if (*text != '_') {
            date = date * 10 + (guint)g_ascii_digit_value(*text);
            digits++;
        }
    }
    guint year = date / 10000;
    gboolean is_date = digits == DATE_DIGITS && !g_ascii_isdigit(*text) && year >= FIRST_YEAR &&
                       year <= LAST_YEAR;
    return is_date ? date : 0;
}

guint
lodge_passt_date(const char *version)
{
    gsize length = strcspn(version, "\n");
    for (gsize i = 0; i < length; i++) {
        gboolean begins = g_ascii_isdigit(version[i]) &&
                          (i == 0 || !g_ascii_isdigit(version[i - 1]));
        guint date = begins ? date_at(version + i) : 0;
        if (date != 0) {
            return date;
        }
    }
    return 0;
}

/* What comes, until nobody is left who could write, there is enough, or the deadline. */
static gsize
read_terminal(int fd, char *text, gsize size)
{
    gsize length = 0;
    gint64 deadline = lodge_deadline_in(VERSION_TIMEOUT_MS);
    gssize got = 1;
    while (got > 0 && length < size && lodge_wait_fd(fd, POLLIN, deadline, NULL)) {
        got = read(fd, text + length, size - length);
        length += (gsize)MAX(got, 0);
    }
    return length;
}

/* By way of a terminal: passts of some years lose what they said when it goes elsewhere. */
guint
lodge_passt_date_of(const char *path)
{
    GPid pid = 0;
    char text[TEXT_BYTES] = "";
    char name[NAME_BYTES];
    const char *const argv[] = {path, "--version", NULL};
    lodge_autofd terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (terminal < 0 || grantpt(terminal) < 0 || unlockpt(terminal) < 0 ||
        ptsname_r(terminal, name, sizeof name) != 0) {
        return 0;
    }
    lodge_autofd end = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (end < 0 || !g_spawn_async_with_fds(NULL, (char **)argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD,
                                           NULL, NULL, &pid, -1, end, end, NULL)) {
        return 0;
    }
    lodge_fd_clear(&end);
    read_terminal(terminal, text, sizeof text - 1);
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    /* It may complain first that it was not built for this processor. */
    const char *line = g_str_has_prefix(text, "passt ") ? text : strstr(text, "\npasst ");
    return line != NULL ? lodge_passt_date(line + 1) : 0;
}

char *
lodge_passt_find(const char *cache_folder)
{
    g_autofree char *path = lodge_program_find("passt");
    g_autofree char *key = path != NULL ? lodge_qemu_identity(path) : NULL;
    g_autofree char *file = g_build_filename(cache_folder, "passt.json", NULL);
    g_autoptr(json_t) saved = key != NULL ? lodge_json_read(file, CACHE_LIMIT_BYTES, NULL) : NULL;
    if (key == NULL) {
        return NULL;
    }
    guint date = (guint)lodge_json_int(saved, "date", 0);
    if (!g_str_equal(lodge_json_string(saved, "key", ""), key)) {
        date = lodge_passt_date_of(path);
        g_autoptr(json_t) fresh = json_pack("{s:s, s:i}", "key", key, "date", (int)date);
        lodge_json_publish(file, fresh, NULL);
    }
    return date >= LODGE_PASST_LEAST ? g_steal_pointer(&path) : NULL;
}
