#include "config.h"

#include "ops/edit.h"

#include "base/base.h"

static void
change(GKeyFile *file, const char *group, const char *const *pairs)
{
    if (pairs == NULL) {
        g_key_file_remove_group(file, group, NULL);
        return;
    }
    for (gsize i = 0; pairs[i] != NULL; i += 2) {
        if (*pairs[i + 1] == '\0') {
            g_key_file_remove_key(file, group, pairs[i], NULL);
        } else {
            g_key_file_set_string(file, group, pairs[i], pairs[i + 1]);
        }
    }
}

gboolean
edit_section(const Session *session, EditWhere where, const char *group, const char *const *pairs,
             GError **error)
{
    const LodgeStore *store = session->store;
    const char *name = session->guest->name;
    g_autofree char *before = NULL;
    g_autoptr(GKeyFile) file = where == EDIT_STARTED
                                   ? lodge_store_guest_started(store, name)
                                   : lodge_store_guest_file(store, name, &before, error);
    if (file == NULL) {
        return where == EDIT_STARTED;
    }
    change(file, group, pairs);
    g_autofree char *text = lodge_key_file_text(file, before != NULL ? before : "");
    return where == EDIT_STARTED ? lodge_store_guest_write_started(store, name, text, error)
                                 : lodge_store_guest_write(store, name, text, error);
}
