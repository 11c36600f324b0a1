#include "config.h"

#include "net/sysctl.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"

enum {
    VALUE_LIMIT_BYTES = 4096,
    MEMORY_LIMIT_BYTES = 1 << 20,
};

void
lodge_sysctl_free(LodgeSysctl *setting)
{
    if (setting != NULL) {
        g_free(setting->key);
        g_free(setting->value);
        g_free(setting);
    }
}

static void want(GPtrArray *settings, const char *value, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

static void
want(GPtrArray *settings, const char *value, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    LodgeSysctl *setting = g_new0(LodgeSysctl, 1);
    setting->key = g_strdup_vprintf(format, arguments);
    setting->value = g_strdup(value);
    g_ptr_array_add(settings, setting);
    va_end(arguments);
}

GPtrArray *
lodge_sysctl_forwarding(gboolean ipv4, gboolean ipv6, const char *const *accept_ra)
{
    GPtrArray *settings = g_ptr_array_new_with_free_func((GDestroyNotify)lodge_sysctl_free);
    if (ipv4) {
        want(settings, "1", "net/ipv4/ip_forward");
    }
    for (gsize i = 0; ipv6 && accept_ra[i] != NULL; i += 2) {
        if (g_str_equal(accept_ra[i + 1], "1")) {
            want(settings, "2", "net/ipv6/conf/%s/accept_ra", accept_ra[i]);
        }
    }
    if (ipv6) {
        want(settings, "1", "net/ipv6/conf/all/forwarding");
    }
    return settings;
}

char **
lodge_sysctl_accept_ra(const char *except)
{
    g_autoptr(GPtrArray) pairs = g_ptr_array_new();
    g_auto(GStrv) names = lodge_dir_names("/proc/sys/net/ipv6/conf", NULL);
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        g_autofree char *key = g_strdup_printf("net/ipv6/conf/%s/accept_ra", names[i]);
        char *value = lodge_sysctl_get(key);
        gboolean is_link = !g_str_equal(names[i], "all") && !g_str_equal(names[i], "default") &&
                           !g_str_equal(names[i], "lo") && g_strcmp0(names[i], except) != 0;
        if (is_link && value != NULL) {
            g_ptr_array_add(pairs, g_strdup(names[i]));
            g_ptr_array_add(pairs, value);
        } else {
            g_free(value);
        }
    }
    g_ptr_array_add(pairs, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&pairs), FALSE);
}

char *
lodge_sysctl_get(const char *key)
{
    g_autofree char *path = g_build_filename("/proc/sys", key, NULL);
    char *value = lodge_file_read(path, VALUE_LIMIT_BYTES, NULL, NULL);
    return value != NULL ? g_strchomp(value) : NULL;
}

gboolean
lodge_sysctl_set(const char *key, const char *value, GError **error)
{
    g_autofree char *path = g_build_filename("/proc/sys", key, NULL);
    lodge_autofd fd = open(path, O_WRONLY | O_CLOEXEC);
    return (fd >= 0 && write(fd, value, strlen(value)) == (gssize)strlen(value)) ||
           lodge_error_errno(error, errno, "Setting %s to %s", key, value);
}

/* The memory: { "net/ipv4/ip_forward": {"was": "0", "set": "1", "for": ["lan"]} … }, in the order
 * in which they were set. */
static json_t *
recall(const char *memory)
{
    json_t *all = lodge_json_read(memory, MEMORY_LIMIT_BYTES, NULL);
    return json_is_object(all) ? all : (json_decref(all), json_object());
}

static gboolean
needs(const json_t *entry, const char *network)
{
    json_t *list = json_object_get(entry, "for");
    for (gsize i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        if (g_strcmp0(name, network) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

/* Note the setting as needed by @network. TRUE if it must be written. */
static gboolean
note(json_t *all, const char *network, const LodgeSysctl *setting)
{
    g_autofree char *now = lodge_sysctl_get(setting->key);
    json_t *entry = json_object_get(all, setting->key);
    if (now == NULL || (entry == NULL && g_str_equal(now, setting->value))) {
        return FALSE; /* it was so before us, and is nobody's to put back */
    }
    if (entry == NULL) {
        entry = json_pack("{s:s, s:s, s:[]}", "was", now, "set", setting->value, "for");
        json_object_set_new(all, setting->key, entry);
    }
    if (!needs(entry, network)) {
        json_array_append_new(json_object_get(entry, "for"), json_string(network));
    }
    return !g_str_equal(now, setting->value);
}

gboolean
lodge_sysctl_apply(const char *memory, const char *network, const GPtrArray *settings,
                   GError **error)
{
    g_autoptr(json_t) all = recall(memory);
    g_autoptr(GPtrArray) changes = g_ptr_array_new();
    for (guint i = 0; i < settings->len; i++) {
        if (note(all, network, settings->pdata[i])) {
            g_ptr_array_add(changes, settings->pdata[i]);
        }
    }
    if (json_object_size(all) > 0 && !lodge_json_publish(memory, all, error)) {
        return FALSE;
    }
    for (guint i = 0; i < changes->len; i++) {
        const LodgeSysctl *setting = changes->pdata[i];
        if (!lodge_sysctl_set(setting->key, setting->value, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static void
forget_need(json_t *entry, const char *network)
{
    json_t *list = json_object_get(entry, "for");
    for (gsize i = json_array_size(list); i > 0; i--) {
        if (g_strcmp0(json_string_value(json_array_get(list, i - 1)), network) == 0) {
            json_array_remove(list, i - 1);
        }
    }
}

/* What somebody changed meanwhile is theirs now; a link that is gone took its setting along. */
static void
put_back(const char *key, const json_t *entry)
{
    g_autofree char *now = lodge_sysctl_get(key);
    if (g_strcmp0(now, lodge_json_string(entry, "set", "")) == 0) {
        lodge_sysctl_set(key, lodge_json_string(entry, "was", ""), NULL);
    }
}

gboolean
lodge_sysctl_release(const char *memory, const char *network, GError **error)
{
    g_autoptr(json_t) all = recall(memory);
    g_autoptr(GPtrArray) keys = g_ptr_array_new_with_free_func(g_free);
    const char *key;
    json_t *entry;
    json_object_foreach (all, key, entry) {
        forget_need(entry, network);
        if (json_array_size(json_object_get(entry, "for")) == 0) {
            g_ptr_array_insert(keys, 0, g_strdup(key));
        }
    }
    /* Backwards: forwarding goes off before accept_ra goes back. */
    for (guint i = 0; i < keys->len; i++) {
        put_back(keys->pdata[i], json_object_get(all, keys->pdata[i]));
        json_object_del(all, keys->pdata[i]);
    }
    if (json_object_size(all) == 0) {
        return unlink(memory) == 0 || errno == ENOENT ||
               lodge_error_errno(error, errno, "Removing %s", memory);
    }
    return lodge_json_publish(memory, all, error);
}
