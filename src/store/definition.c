#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "store/store.h"

enum {
    DEFINITION_LIMIT_BYTES = 256 << 10,
};

/* GLib's key file here, unlike where definitions are only read: it keeps comments when it writes.
 */
static GKeyFile *
read_file(const char *path, const char *name, char **out_text, GError **error)
{
    gsize length = 0;
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autoptr(GError) problem = NULL;
    g_autofree char *text = lodge_file_read(path, DEFINITION_LIMIT_BYTES, &length, error);
    if (text == NULL) {
        return NULL;
    }
    if (!g_key_file_load_from_data(file, text, length, G_KEY_FILE_KEEP_COMMENTS, &problem)) {
        lodge_error_set(error, LODGE_ERROR_INVALID, "guest %s: %s", name, problem->message);
        return NULL;
    }
    if (out_text != NULL) {
        *out_text = g_steal_pointer(&text);
    }
    return g_steal_pointer(&file);
}

GKeyFile *
lodge_store_guest_file(const LodgeStore *store, const char *name, char **out_text, GError **error)
{
    g_autofree char *path = lodge_store_guest_path(store, name, "guest.conf");
    return read_file(path, name, out_text, error);
}

/* GLib leaves an empty line behind where a key came last in its group and went again: a definition
 * that is changed by each snapshot would grow by them. */
static char *
squeeze(const char *text)
{
    GString *squeezed = g_string_sized_new(strlen(text));
    for (const char *at = text; *at != '\0'; at++) {
        if (!g_str_has_prefix(at, "\n\n\n")) {
            g_string_append_c(squeezed, *at);
        }
    }
    return g_string_free(squeezed, FALSE);
}

gboolean
lodge_store_guest_write(const LodgeStore *store, const char *name, const char *text, GError **error)
{
    g_autofree char *path = lodge_store_guest_path(store, name, "guest.conf");
    g_autofree char *squeezed = squeeze(text);
    g_autoptr(LodgeGuest) guest = lodge_guest_parse(name, text, strlen(text), error);
    return guest != NULL &&
           lodge_file_write(path, squeezed, strlen(squeezed), 0600, LODGE_WRITE_DEFAULT, error);
}

GKeyFile *
lodge_store_guest_started(const LodgeStore *store, const char *name)
{
    g_autofree char *path = lodge_store_run_path(store, name, "started.conf");
    return read_file(path, name, NULL, NULL);
}

gboolean
lodge_store_guest_write_started(const LodgeStore *store, const char *name, const char *text,
                                GError **error)
{
    g_autofree char *path = lodge_store_run_path(store, name, "started.conf");
    return lodge_file_write(path, text, strlen(text), 0600, LODGE_WRITE_NO_SYNC, error);
}

gboolean
lodge_store_guest_rename(const LodgeStore *store, const char *from, const char *to, GError **error)
{
    g_autofree char *old = lodge_store_guest_path(store, from, NULL);
    g_autofree char *fresh = lodge_store_guest_path(store, to, NULL);
    gboolean is_creating = lodge_store_is_creating(store, from);
    if (is_creating && !lodge_store_creating_begin(store, to, error)) {
        return FALSE;
    }
    if (renameat2(AT_FDCWD, old, AT_FDCWD, fresh, RENAME_NOREPLACE) == 0) {
        lodge_store_creating_end(store, is_creating ? from : to);
        return TRUE;
    }
    return errno == EEXIST
               ? lodge_error_set(error, LODGE_ERROR_EXISTS, "guest %s exists already", to)
               : lodge_error_errno(error, errno, "Renaming guest %s", from);
}
