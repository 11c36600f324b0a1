#include "config.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "store/store.h"

enum {
    ROTATE_AT_BYTES = 1 << 20,
};

/* Unless another writer was quicker: its fresh file would take the place of the full one. */
static void
rotate(const char *path, const struct stat *full)
{
    struct stat present;
    g_autofree char *old = g_strconcat(path, ".1", NULL);
    if (stat(path, &present) == 0 && present.st_ino == full->st_ino) {
        rename(path, old);
    }
}

void
lodge_event_append(const LodgeStore *store, const char *guest, const char *event, json_t *details)
{
    g_autoptr(json_t) line = details != NULL ? details : json_object();
    g_autofree char *path = g_build_filename(store->run, "events.jsonl", NULL);
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autofree char *time = g_date_time_format(now, "%Y-%m-%dT%H:%M:%S.%fZ");
    json_object_set_new(line, "time", json_string(time));
    json_object_set_new(line, "guest", lodge_json_string_or_null(guest));
    json_object_set_new(line, "event", json_string(event));
    char *text = json_dumps(line, JSON_COMPACT | JSON_SORT_KEYS);
    lodge_autofd fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    struct stat info;
    if (text != NULL && fd >= 0 && fstat(fd, &info) == 0) {
        g_autofree char *whole = g_strconcat(text, "\n", NULL);
        /* One write to a file opened for appending: lines of several writers never mix. */
        if (write(fd, whole, strlen(whole)) > 0 && info.st_size > ROTATE_AT_BYTES) {
            rotate(path, &info);
        }
    }
    free(text);
}
