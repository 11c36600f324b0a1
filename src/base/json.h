/* JSON values (jansson) that free themselves, and bounded reading. */
#pragma once

#include <glib.h>
#include <jansson.h>

G_DEFINE_AUTOPTR_CLEANUP_FUNC(json_t, json_decref)

/* Parse @text of @length bytes, which must be one JSON value. @what names it in the error.
 * Returns a new reference, or NULL with LODGE_ERROR_INVALID. */
json_t *lodge_json_parse(const char *text, gsize length, const char *what, GError **error);

/* Read and parse a file of at most @limit_bytes. Returns a new reference, or NULL with the error of
 * the read or LODGE_ERROR_INVALID. */
json_t *lodge_json_read(const char *path, gsize limit_bytes, GError **error);

/* Write @value to @path by a rename: readers see the old or the new file, whole. Not synced to
 * disk: for state that a reboot may lose. */
gboolean lodge_json_publish(const char *path, const json_t *value, GError **error);

/* Members of an object, with a fallback where absent or of another type. Borrowed from @object. */
const char *lodge_json_string(const json_t *object, const char *key, const char *fallback);
json_int_t lodge_json_int(const json_t *object, const char *key, json_int_t fallback);
gboolean lodge_json_bool(const json_t *object, const char *key, gboolean fallback);

/* An object's member that is `null` when @text is NULL. New reference. */
json_t *lodge_json_string_or_null(const char *text);
