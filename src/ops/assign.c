#include "config.h"

#include "ops/assign.h"

#include <string.h>

#include "base/base.h"

char *
assign_spell(const char *group, const char *key)
{
    if (g_str_equal(group, "guest")) {
        return g_strdup(key);
    }
    g_autofree char *dotted = g_strdelimit(g_strdup(group), " ", '.');
    return g_strconcat(dotted, ".", key, NULL);
}

gboolean
assign_resolve(GKeyFile *file, const char *spelling, char **out_group, const LodgeKey **out_key,
               GError **error)
{
    g_auto(GStrv) parts = g_strsplit(spelling, ".", 3);
    guint count = g_strv_length(parts);
    const char *section_name = count > 1 ? parts[0] : "guest";
    const char *key_name = parts[count - 1];
    const LodgeSection *section = lodge_section_find(lodge_guest_sections(), section_name);
    if (section == NULL || section->repeats != (count == 3)) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "“%s” is no key: write memory, disk.NAME.iops, nic.NAME.forward … "
                               "(lodge-guest.conf(5) lists them)",
                               spelling);
    }
    *out_key = lodge_section_key(section, key_name);
    if (*out_key == NULL) {
        g_autoptr(GPtrArray) names = g_ptr_array_new();
        for (gsize i = 0; i < section->key_count; i++) {
            g_ptr_array_add(names, (gpointer)section->keys[i].name);
        }
        g_ptr_array_add(names, NULL);
        g_autofree char *hint = lodge_text_suggestion(key_name, (const char *const *)names->pdata);
        return lodge_error_set(error, LODGE_ERROR_USAGE, "unknown key “%s”%s", spelling, hint);
    }
    *out_group = count == 3 ? g_strdup_printf("%s %s", parts[0], parts[1]) : g_strdup(section_name);
    if (count == 3 && !g_key_file_has_group(file, *out_group)) {
        g_clear_pointer(out_group, g_free);
        return lodge_error_set(error, LODGE_ERROR_NOT_FOUND, "it has no %s “%s”", parts[0],
                               parts[1]);
    }
    return TRUE;
}

gboolean
assign(GKeyFile *file, const char *assignment, GError **error)
{
    const LodgeKey *key = NULL;
    g_autofree char *group = NULL;
    g_autofree char *canonical = NULL;
    const char *equals = strchr(assignment, '=');
    if (equals == NULL) {
        return lodge_error_set(error, LODGE_ERROR_USAGE, "“%s”: write KEY=VALUE", assignment);
    }
    g_autofree char *spelling = g_strndup(assignment, (gsize)(equals - assignment));
    if (!assign_resolve(file, spelling, &group, &key, error)) {
        return FALSE;
    }
    if (equals[1] == '\0') {
        g_key_file_remove_key(file, group, key->name, NULL);
        return TRUE;
    }
    if (!lodge_schema_value(key, equals + 1, &canonical, error)) {
        return FALSE;
    }
    g_key_file_set_string(file, group, key->name, canonical);
    return TRUE;
}
