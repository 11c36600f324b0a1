/* Theory of operation: a device's state is found by where it is plugged in.
 *
 * A command line gives each device the next port. Of a QEMU to which devices came, or from which
 * they went, the ports say where they are; with that a command line puts them there again. What is
 * not on a port of its own (SCSI, USB) has its place by the order in which it came, which no
 * command line repeats. */
#include "config.h"

#include "ops/live-layout.h"

#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "qemu/command.h"

#define PERIPHERAL "/machine/peripheral"

enum {
    COMMAND_LIMIT_BYTES = 1 << 20,
};

typedef struct {
    const Hotplug *hotplug;
    GPtrArray *arguments; /* of each -device with an id, as it was started: char * */
    GString *layout;
    gboolean differs;
} Look;

static void
look_clear(Look *look)
{
    if (look->arguments != NULL) {
        g_ptr_array_unref(look->arguments);
    }
    g_string_free(look->layout, TRUE);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Look, look_clear)

/* ",pcie-root-port,id=port1,chassis=1,slot=1," */
static gboolean
read_arguments(Look *look, pid_t qemu, GError **error)
{
    gsize length = 0;
    g_autofree char *path = g_strdup_printf("/proc/%d/cmdline", (int)qemu);
    g_autofree char *words = lodge_file_read(path, COMMAND_LIMIT_BYTES, &length, error);
    look->arguments = g_ptr_array_new_with_free_func(g_free);
    gboolean is_device = FALSE;
    for (gsize at = 0; words != NULL && at < length; at += strlen(words + at) + 1) {
        if (is_device && strstr(words + at, ",id=") != NULL) {
            g_ptr_array_add(look->arguments, g_strconcat(",", words + at, ",", NULL));
            look->differs = look->differs || (strstr(words + at, "pcie-root-port") != NULL &&
                                              strstr(words + at, ",addr=") != NULL);
        }
        is_device = g_str_equal(words + at, "-device");
    }
    return words != NULL;
}

static const char *
argument_of(const Look *look, const char *id)
{
    g_autofree char *wanted = g_strdup_printf(",id=%s,", id);
    for (guint i = 0; i < look->arguments->len; i++) {
        if (strstr(look->arguments->pdata[i], wanted) != NULL) {
            return look->arguments->pdata[i];
        }
    }
    return NULL;
}

static json_t *
property(const Look *look, const char *id, const char *name)
{
    g_autofree char *path = g_strconcat(PERIPHERAL "/", id, NULL);
    return lodge_qmp_ask(look->hotplug->qmp, look->hotplug->deadline, NULL, "qom-get", "{s:s, s:s}",
                         "path", path, "property", name);
}

static gboolean
is_port(const char *id)
{
    return g_str_has_prefix(id, "port") && id[4] != '\0' &&
           id[4 + strspn(id + 4, "0123456789")] == '\0';
}

/* As Lodge gives them; what QEMU, which may be the guest's, says otherwise would become options of
 * another's command line. */
static gboolean
is_plain(const char *id)
{
    return id[strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")] ==
           '\0';
}

/* The port that @id is plugged into; NULL: none. Free with g_free. */
static char *
port_of(const Look *look, const char *id)
{
    g_autoptr(json_t) bus = property(look, id, "parent_bus");
    g_autofree char *name = bus != NULL && json_is_string(bus)
                                ? g_path_get_basename(json_string_value(bus))
                                : g_strdup("");
    return is_port(name) ? g_steal_pointer(&name) : NULL;
}

static void
note(Look *look, const char *id, const char *place)
{
    g_string_append_printf(look->layout, "%s%s=%s", look->layout->len > 0 ? " " : "", id, place);
}

static gboolean
look_at(Look *look, const char *id, GError **error)
{
    if (g_str_has_prefix(id, "pci-")) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "%s is a device of this host's, whose state nobody can read, so its "
                               "memory can't be kept (take --disks-only)",
                               id);
    }
    if (!is_plain(id)) {
        return lodge_error_set(error, LODGE_ERROR_INVALID, "QEMU has a device of a strange name");
    }
    if (is_port(id)) {
        g_autoptr(json_t) address = property(look, id, "addr");
        json_int_t number = address != NULL ? json_integer_value(address) : 0;
        g_autofree char *place = g_strdup_printf("%x.%x", (guint)number >> 3, (guint)number & 7);
        note(look, id, place);
        return TRUE;
    }
    g_autofree char *port = port_of(look, id);
    if (port != NULL) {
        note(look, id, port);
    }
    if (argument_of(look, id) != NULL) {
        return TRUE;
    }
    look->differs = TRUE;
    return (port != NULL && g_str_has_prefix(id, "disk-")) ||
           lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                           "%s was plugged in since it was started, so its memory can't be kept "
                           "(take --disks-only, or restart it)",
                           id);
}

static gboolean
has_entry(const json_t *list, const char *id)
{
    gsize i = 0;
    const json_t *entry = NULL;
    json_array_foreach (list, i, entry) {
        if (g_str_equal(lodge_json_string(entry, "name", ""), id)) {
            return TRUE;
        }
    }
    return FALSE;
}

/* What it was started with, and what went since. */
static gboolean
look_for_gone(Look *look, const json_t *list, GError **error)
{
    for (guint i = 0; i < look->arguments->len; i++) {
        const char *argument = look->arguments->pdata[i];
        const char *begin = strstr(argument, ",id=") + strlen(",id=");
        g_autofree char *id = g_strndup(begin, strcspn(begin, ","));
        if (has_entry(list, id)) {
            continue;
        }
        look->differs = TRUE;
        if (strstr(argument, ",bus=port") == NULL) {
            return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                                   "%s was taken away since it was started, so its memory can't be "
                                   "kept (take --disks-only, or restart it)",
                                   id);
        }
    }
    return TRUE;
}

gboolean
live_layout(const Hotplug *hotplug, pid_t qemu, char **out_layout, GError **error)
{
    gsize i = 0;
    const json_t *entry = NULL;
    g_auto(Look) look = {.hotplug = hotplug, .layout = g_string_new(NULL)};
    g_autoptr(json_t) list = read_arguments(&look, qemu, error)
                                 ? lodge_qmp_ask(hotplug->qmp, hotplug->deadline, error, "qom-list",
                                                 "{s:s}", "path", PERIPHERAL)
                                 : NULL;
    *out_layout = NULL;
    if (list == NULL || !look_for_gone(&look, list, error)) {
        return FALSE;
    }
    json_array_foreach (list, i, entry) {
        const char *id = lodge_json_string(entry, "name", "");
        if (!g_str_equal(id, "type") && !look_at(&look, id, error)) {
            return FALSE;
        }
    }
    *out_layout = look.differs ? g_strdup(look.layout->str) : NULL;
    return TRUE;
}
