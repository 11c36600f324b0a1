#include "config.h"

#include "store/networks.h"

#include <string.h>

#include "base/base.h"

enum {
    DEFINITION_LIMIT_BYTES = 256 << 10,
};
#define SUFFIX ".conf"

char *
lodge_store_network_path(const LodgeStore *store, const char *name)
{
    g_autofree char *file = g_strconcat(name, SUFFIX, NULL);
    return g_build_filename(store->root, "networks", file, NULL);
}

char *
lodge_store_network_run_path(const LodgeStore *store, const char *name, const char *file)
{
    return g_build_filename(store->run, "networks", name, file, NULL);
}

char **
lodge_store_networks(const LodgeStore *store, GError **error)
{
    g_autofree char *folder = g_build_filename(store->root, "networks", NULL);
    g_auto(GStrv) files = lodge_dir_names(folder, error);
    if (files == NULL) {
        return NULL;
    }
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    for (gsize i = 0; files[i] != NULL; i++) {
        if (g_str_has_suffix(files[i], SUFFIX)) {
            g_autofree char *name = g_strndup(files[i], strlen(files[i]) - strlen(SUFFIX));
            if (lodge_name_check("network", name, NULL)) {
                g_ptr_array_add(names, g_steal_pointer(&name));
            }
        }
    }
    g_ptr_array_add(names, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&names), FALSE);
}

LodgeNetwork *
lodge_store_network(const LodgeStore *store, const char *name, GError **error)
{
    g_autoptr(GError) problem = NULL;
    if (!lodge_name_check("network", name, error)) {
        return NULL;
    }
    gsize length = 0;
    g_autofree char *path = lodge_store_network_path(store, name);
    g_autofree char *text = lodge_file_read(path, DEFINITION_LIMIT_BYTES, &length, &problem);
    if (text != NULL) {
        return lodge_network_parse(name, text, length, error);
    }
    if (g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_NOT_FOUND)) {
        g_auto(GStrv) names = lodge_store_networks(store, NULL);
        g_autofree char *hint = names != NULL
                                    ? lodge_text_suggestion(name, (const char *const *)names)
                                    : g_strdup("");
        g_clear_error(&problem);
        lodge_error_set(&problem, LODGE_ERROR_NOT_FOUND, "no network “%s”%s", name, hint);
    }
    g_propagate_error(error, g_steal_pointer(&problem));
    return NULL;
}

char **
lodge_store_network_users(const LodgeStore *store, const char *network, GError **error)
{
    g_auto(GStrv) names = lodge_store_guests(store, error);
    if (names == NULL) {
        return NULL;
    }
    g_autoptr(GPtrArray) users = g_ptr_array_new_with_free_func(g_free);
    for (gsize i = 0; names[i] != NULL; i++) {
        g_autoptr(LodgeGuest) guest = lodge_store_guest(store, names[i], NULL);
        gboolean uses = FALSE;
        for (guint n = 0; guest != NULL && n < guest->nics->len; n++) {
            const LodgeNic *nic = guest->nics->pdata[n];
            uses = uses || g_strcmp0(nic->network, network) == 0;
        }
        if (uses) {
            g_ptr_array_add(users, g_strdup(names[i]));
        }
    }
    g_ptr_array_add(users, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&users), FALSE);
}
