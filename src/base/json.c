#include "config.h"

#include "base/json.h"

#include "base/error.h"
#include "base/file.h"

json_t *
lodge_json_parse(const char *text, gsize length, const char *what, GError **error)
{
    json_error_t where;
    json_t *value = json_loadb(text, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &where);
    if (value == NULL) {
        lodge_error_set(error, LODGE_ERROR_INVALID, "%s: not JSON: %s (line %d, column %d)", what,
                        where.text, where.line, where.column);
    }
    return value;
}

json_t *
lodge_json_read(const char *path, gsize limit_bytes, GError **error)
{
    gsize length = 0;
    g_autofree char *text = lodge_file_read(path, limit_bytes, &length, error);
    if (text == NULL) {
        return NULL;
    }
    return lodge_json_parse(text, length, path, error);
}

gboolean
lodge_json_publish(const char *path, const json_t *value, GError **error)
{
    char *text = json_dumps(value, JSON_COMPACT);
    if (text == NULL) {
        return lodge_error_set(error, LODGE_ERROR_INVALID, "%s: value can't be written as JSON",
                               path);
    }
    gboolean done = lodge_file_write(path, text, strlen(text), 0644, LODGE_WRITE_NO_SYNC, error);
    free(text);
    return done;
}

const char *
lodge_json_string(const json_t *object, const char *key, const char *fallback)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : fallback;
}

json_int_t
lodge_json_int(const json_t *object, const char *key, json_int_t fallback)
{
    const json_t *value = json_object_get(object, key);
    return json_is_integer(value) ? json_integer_value(value) : fallback;
}

gboolean
lodge_json_bool(const json_t *object, const char *key, gboolean fallback)
{
    const json_t *value = json_object_get(object, key);
    return json_is_boolean(value) ? json_is_true(value) : fallback;
}

json_t *
lodge_json_string_or_null(const char *text)
{
    return text != NULL ? json_string(text) : json_null();
}
