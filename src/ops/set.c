/* Theory of operation: a definition and what the running guest took of it.
 *
 * guest.conf is what shall be; <run>/started.conf, which the keeper writes when it starts QEMU, is
 * what is. `set` and `edit` write the first, then try each key that differs from the second on the
 * running guest; what it took is written into the second too. What differs still is pending. So a
 * change is never half stored, and pending follows from two files, with nothing to remember. */
#include "config.h"

#include "ops/set.h"

#include <string.h>

#include "base/base.h"
#include "net/define.h"
#include "ops/assign.h"
#include "ops/disk-tree.h"
#include "ops/live.h"

static void
change_free(gpointer data)
{
    LodgeChange *change = data;
    g_free(change->key);
    g_free(change->old);
    g_free(change->fresh);
    g_free(change->why);
    g_free(change);
}

static void
add_differences_of_group(GPtrArray *changes, GKeyFile *old, GKeyFile *fresh, const char *group)
{
    g_autofree char *kind = g_strndup(group, strcspn(group, " "));
    const LodgeSection *section = lodge_section_find(lodge_guest_sections(), kind);
    for (gsize i = 0; section != NULL && i < section->key_count; i++) {
        const char *key = section->keys[i].name;
        g_autofree char *before = g_key_file_get_string(old, group, key, NULL);
        g_autofree char *after = g_key_file_get_string(fresh, group, key, NULL);
        if (g_strcmp0(before, after) != 0) {
            LodgeChange *change = g_new0(LodgeChange, 1);
            change->key = assign_spell(group, key);
            change->old = g_steal_pointer(&before);
            change->fresh = g_steal_pointer(&after);
            change->outcome = LODGE_SET_STORED;
            g_ptr_array_add(changes, change);
        }
    }
}

/* All keys in which two definitions differ. */
static GPtrArray *
differences(GKeyFile *old, GKeyFile *fresh)
{
    GPtrArray *changes = g_ptr_array_new_with_free_func(change_free);
    g_auto(GStrv) groups = g_key_file_get_groups(fresh, NULL);
    g_auto(GStrv) old_groups = g_key_file_get_groups(old, NULL);
    for (gsize i = 0; groups[i] != NULL; i++) {
        add_differences_of_group(changes, old, fresh, groups[i]);
    }
    for (gsize i = 0; old_groups[i] != NULL; i++) {
        if (!g_strv_contains((const char *const *)groups, old_groups[i])) {
            add_differences_of_group(changes, old, fresh, old_groups[i]);
        }
    }
    return changes;
}

static LodgeGuest *
parse(const char *name, GKeyFile *file)
{
    gsize length = 0;
    g_autofree char *text = g_key_file_to_data(file, &length, NULL);
    return lodge_guest_parse(name, text, length, NULL);
}

/* Try @change on the running guest; what it took goes into @started. */
static void
apply_one(const Session *session, LodgeChange *change, GKeyFile *started, GKeyFile *fresh)
{
    g_autoptr(GError) problem = NULL;
    g_autofree char *group = NULL;
    const LodgeKey *key = NULL;
    const char *name = session->guest->name;
    g_autoptr(LodgeGuest) old_guest = parse(name, started);
    g_autoptr(LodgeGuest) fresh_guest = parse(name, fresh);
    change->outcome = LODGE_SET_PENDING;
    if (old_guest == NULL || fresh_guest == NULL ||
        !assign_resolve(started, change->key, &group, &key, NULL) ||
        !g_key_file_has_group(fresh, group)) {
        return; /* it came or went as a whole */
    }
    const char *space = strchr(group, ' ');
    g_autofree char *section = g_strndup(group, strcspn(group, " "));
    LiveChange live = {session, old_guest, fresh_guest, space != NULL ? space + 1 : NULL};
    if (!live_apply(section, key->name, &live, &problem)) {
        change->why = problem != NULL ? g_strdup(problem->message) : NULL;
        return;
    }
    change->outcome = LODGE_SET_LIVE;
    if (change->fresh != NULL) {
        g_key_file_set_string(started, group, key->name, change->fresh);
    } else {
        g_key_file_remove_key(started, group, key->name, NULL);
    }
}

/* A NIC that moves to another network leaves its addresses behind, and gets some there. */
static gboolean
readdress(const Session *session, GKeyFile *old, GKeyFile *fresh, const char *group, GError **error)
{
    static const char *const keys[] = {"address", "address6"};
    g_autofree char *before = g_key_file_get_string(old, group, "network", NULL);
    g_autofree char *after = g_key_file_get_string(fresh, group, "network", NULL);
    g_autofree char *mac = g_key_file_get_string(fresh, group, "mac", NULL);
    const char *name = after != NULL ? after : LODGE_NETWORK_USER;
    g_auto(LodgeNetworkLease) lease = {NULL, NULL};
    if (g_strcmp0(before, after) == 0 || mac == NULL) {
        return TRUE;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(keys); i++) {
        g_autofree char *was = g_key_file_get_string(old, group, keys[i], NULL);
        g_autofree char *is = g_key_file_get_string(fresh, group, keys[i], NULL);
        if (g_strcmp0(was, is) != 0) {
            return TRUE; /* it was given others */
        }
        g_key_file_remove_key(fresh, group, keys[i], NULL);
    }
    if (g_str_equal(name, LODGE_NETWORK_USER)) {
        return TRUE;
    }
    LodgePort port = {.guest = session->guest->name, .nic = strchr(group, ' ') + 1, .mac = mac};
    g_autoptr(LodgeNetwork) network = lodge_network_find(session->store, name, error);
    if (network == NULL || !lodge_net_reserve(session->store, network, &port, &lease, error)) {
        return lodge_error_prefix(error, "guest %s: nic %s", port.guest, port.nic);
    }
    if (lease.address4 != NULL) {
        g_key_file_set_string(fresh, group, "address", lease.address4);
    }
    if (lease.address6 != NULL) {
        g_key_file_set_string(fresh, group, "address6", lease.address6);
    }
    return TRUE;
}

/* @text, with the addresses of NICs that move. Free with g_free; NULL on error. */
static char *
readdress_all(const Session *session, GKeyFile *old, const char *text, GError **error)
{
    g_autoptr(GKeyFile) fresh = g_key_file_new();
    g_autoptr(LodgeGuest)
        checked = lodge_guest_parse(session->guest->name, text, strlen(text), error);
    if (checked == NULL ||
        !g_key_file_load_from_data(fresh, text, strlen(text), G_KEY_FILE_KEEP_COMMENTS, error)) {
        return NULL;
    }
    g_auto(GStrv) groups = g_key_file_get_groups(fresh, NULL);
    g_autofree char *before = g_key_file_to_data(fresh, NULL, NULL);
    for (gsize i = 0; groups[i] != NULL; i++) {
        if (g_str_has_prefix(groups[i], "nic ") && g_key_file_has_group(old, groups[i]) &&
            !readdress(session, old, fresh, groups[i], error)) {
            return NULL;
        }
    }
    g_autofree char *after = g_key_file_to_data(fresh, NULL, NULL);
    return g_str_equal(before, after) ? g_strdup(text) : g_steal_pointer(&after);
}

/* Store @fresh, then let the running guest take what it can. */
static GPtrArray *
store_and_apply(const Session *session, const char *fresh_text, GError **error)
{
    const LodgeStore *store = session->store;
    const char *name = session->guest->name;
    g_autoptr(GKeyFile) old = lodge_store_guest_file(store, name, NULL, error);
    g_autofree char *text = old != NULL ? readdress_all(session, old, fresh_text, error) : NULL;
    if (text == NULL || !lodge_store_guest_write(store, name, text, error)) {
        return NULL;
    }
    g_autoptr(GKeyFile) fresh = lodge_store_guest_file(store, name, NULL, error);
    if (fresh == NULL) {
        return NULL;
    }
    GPtrArray *changes = differences(old, fresh);
    g_autoptr(GKeyFile) started = session->state->has_qemu ? lodge_store_guest_started(store, name)
                                                           : NULL;
    for (guint i = 0; started != NULL && i < changes->len; i++) {
        apply_one(session, changes->pdata[i], started, fresh);
    }
    if (started != NULL) {
        g_autofree char *taken = g_key_file_to_data(started, NULL, NULL);
        lodge_store_guest_write_started(store, name, taken, NULL);
    }
    return changes;
}

GPtrArray *
lodge_set(const LodgeStore *store, const char *name, const char *const *assignments, GError **error)
{
    g_autoptr(Session) session = session_begin(store, name, "set", error);
    if (session == NULL) {
        return NULL;
    }
    g_autofree char *before = NULL;
    g_autoptr(GKeyFile) file = lodge_store_guest_file(store, name, &before, error);
    for (gsize i = 0; file != NULL && assignments[i] != NULL; i++) {
        if (!assign(file, assignments[i], error)) {
            lodge_error_prefix(error, "guest %s", name);
            return NULL;
        }
    }
    g_autofree char *text = file != NULL ? lodge_key_file_text(file, before) : NULL;
    return text != NULL ? store_and_apply(session, text, error) : NULL;
}

GPtrArray *
lodge_set_text(const LodgeStore *store, const char *name, const char *text, GError **error)
{
    g_autoptr(Session) session = session_begin(store, name, "edit", error);
    return session != NULL ? store_and_apply(session, text, error) : NULL;
}

GPtrArray *
lodge_pending(const LodgeStore *store, const char *name, GError **error)
{
    g_autoptr(LodgeGuestState) state = lodge_store_state(store, name);
    g_autoptr(GKeyFile) started = state->has_qemu ? lodge_store_guest_started(store, name) : NULL;
    if (started == NULL) {
        return g_ptr_array_new_with_free_func(change_free);
    }
    g_autoptr(GKeyFile) file = lodge_store_guest_file(store, name, NULL, error);
    return file != NULL ? differences(started, file) : NULL;
}

/* The seed's first line that names the host; the guest takes a changed seed at its next boot. */
static void
rename_in_seed(const LodgeStore *store, const char *name)
{
    g_autofree char *path = lodge_store_guest_path(store, name, "seed.txt");
    g_autofree char *text = lodge_file_read(path, 1 << 20, NULL, NULL);
    g_auto(GStrv) lines = text != NULL ? g_strsplit(text, "\n", -1) : NULL;
    for (gsize i = 0; lines != NULL && lines[i] != NULL; i++) {
        if (g_str_has_prefix(lines[i], "hostname=")) {
            g_free(lines[i]);
            lines[i] = g_strconcat("hostname=", name, NULL);
        }
    }
    g_autofree char *fresh = lines != NULL ? g_strjoinv("\n", lines) : NULL;
    if (fresh != NULL) {
        lodge_file_write(path, fresh, strlen(fresh), 0600, LODGE_WRITE_DEFAULT, NULL);
    }
}

gboolean
lodge_rename(const LodgeStore *store, const char *from, const char *to, GError **error)
{
    if (!lodge_name_check("guest", to, error)) {
        return FALSE;
    }
    g_autoptr(Session) session = session_begin(store, from, "rename", error);
    if (session == NULL) {
        return FALSE;
    }
    if (session->state->has_qemu) {
        return lodge_error_set(error, LODGE_ERROR_BUSY,
                               "guest %s is %s: stop it to give it another name", from,
                               lodge_state_word(session->state->state));
    }
    g_autoptr(LodgeJob) target = lodge_job_begin(store, to, "rename", error);
    if (target == NULL || !lodge_disk_refuse_needed(store, from, NULL, NULL, "renamed", error) ||
        !lodge_store_guest_rename(store, from, to, error)) {
        return FALSE;
    }
    rename_in_seed(store, to);
    lodge_net_release(store, from); /* its addresses stand in its definition */
    lodge_job_remove_run_folder(session->job, TRUE);
    lodge_event_append(store, to, "renamed", json_pack("{s:s}", "from", from));
    return TRUE;
}
