#include "config.h"

#include <string.h>

#include "base/base.h"
#include "qmp/guest-agent-private.h"

gboolean
lodge_guest_agent_malformed(GError **error, const char *command)
{
    return lodge_error_set(error, LODGE_ERROR_INVALID, "%s: the guest agent's answer is malformed",
                           command);
}

static gboolean
is_base64(const char *text, gsize length)
{
    if (length % 4 != 0) {
        return FALSE;
    }
    gsize padding = 0;
    while (padding < 2 && padding < length && text[length - 1 - padding] == '=') {
        padding++;
    }
    for (gsize i = 0; i < length - padding; i++) {
        if (!g_ascii_isalnum(text[i]) && text[i] != '+' && text[i] != '/') {
            return FALSE;
        }
    }
    return TRUE;
}

char *
lodge_guest_agent_decode(const json_t *value, gsize *out_length, GError **error)
{
    const char *text = json_string_value(value);
    gsize length = json_string_length(value);
    if (text == NULL || !is_base64(text, length)) {
        lodge_error_set(error, LODGE_ERROR_INVALID, "the guest agent sent malformed base64");
        return NULL;
    }
    /* With room for the NUL: g_base64_decode() would leave none. */
    char *bytes = g_malloc(length / 4 * 3 + 1);
    gint state = 0;
    guint save = 0;
    *out_length = g_base64_decode_step(text, length, (guchar *)bytes, &state, &save);
    bytes[*out_length] = '\0';
    return bytes;
}

gboolean
lodge_guest_agent_integer(const json_t *value, gint64 minimum, gint64 maximum, gint64 *out_number,
                          GError **error)
{
    if (!json_is_integer(value) || json_integer_value(value) < minimum ||
        json_integer_value(value) > maximum) {
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "the guest agent sent a number that is none or out of range");
    }
    *out_number = json_integer_value(value);
    return TRUE;
}

json_t *
lodge_guest_agent_strings(const char *const *strings, GError **error)
{
    g_autoptr(json_t) array = json_array();
    for (gsize i = 0; strings[i] != NULL; i++) {
        if (json_array_append_new(array, json_string(strings[i])) < 0) {
            g_autofree char *shown = lodge_text_printable(strings[i]);
            lodge_error_set(error, LODGE_ERROR_INVALID, "“%s” is not UTF-8", shown);
            return NULL;
        }
    }
    return g_steal_pointer(&array);
}
