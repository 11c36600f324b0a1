#include "config.h"

#include <string.h>

#include "base/base.h"
#include "ops/view.h"

char *
lodge_monitor_human(const LodgeStore *store, const char *name, const char *command, GError **error)
{
    g_autoptr(LodgeView) view = lodge_view_begin(store, name, error);
    if (view == NULL) {
        return NULL;
    }
    g_autoptr(json_t)
        result = lodge_qmp_ask(view->qmp, lodge_deadline_in(LODGE_VIEW_TIMEOUT_MS), error,
                               "human-monitor-command", "{s:s}", "command-line", command);
    if (result == NULL) {
        lodge_error_prefix(error, "guest %s", name);
        return NULL;
    }
    const char *text = json_string_value(result);
    g_auto(GStrv) lines = g_strsplit(text != NULL ? text : "", "\r\n", -1);
    g_autofree char *plain = g_strjoinv("\n", lines);
    if (g_str_has_prefix(plain, "unknown command:")) {
        lodge_error_set(error, LODGE_ERROR_FAILED, "guest %s: %s (`help` lists the commands)", name,
                        g_strchomp(plain));
        return NULL;
    }
    return g_steal_pointer(&plain);
}

static gboolean
parse_object(const char *text, char **out_command, json_t **out_arguments, GError **error)
{
    g_autoptr(json_t) whole = lodge_json_parse(text, strlen(text), "QMP command", error);
    const char *command = lodge_json_string(whole, "execute", NULL);
    if (whole == NULL) {
        return FALSE;
    }
    if (command == NULL) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "QMP command: it wants the form {\"execute\": \"query-status\"}");
    }
    json_t *arguments = json_object_get(whole, "arguments");
    if (arguments != NULL && !json_is_object(arguments)) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "QMP command: its arguments must be an object");
    }
    *out_command = g_strdup(command);
    *out_arguments = json_incref(arguments);
    return TRUE;
}

gboolean
lodge_monitor_parse(const char *text, char **out_command, json_t **out_arguments, GError **error)
{
    g_autofree char *stripped = g_strstrip(g_strdup(text));
    if (*stripped == '{') {
        return parse_object(stripped, out_command, out_arguments, error);
    }
    gsize length = strcspn(stripped, " \t\n{");
    g_autofree char *command = g_strndup(stripped, length);
    const char *rest = stripped + length + strspn(stripped + length, " \t\n");
    g_autoptr(json_t) arguments = NULL;
    if (*rest != '\0') {
        arguments = lodge_json_parse(rest, strlen(rest), "arguments of the QMP command", error);
        if (arguments == NULL) {
            return FALSE;
        }
    }
    if (length == 0 || (arguments != NULL && !json_is_object(arguments))) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "QMP command: write its name, and behind it {…} if it takes "
                               "arguments");
    }
    *out_command = g_steal_pointer(&command);
    *out_arguments = g_steal_pointer(&arguments);
    return TRUE;
}
