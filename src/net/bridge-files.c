/* Theory of operation: the files that make a bridge last.
 *
 * They are planned, and refused if they can't be, before anything changes, and stand in the record
 * of the unconfirmed change. They are written by the confirmation, while the watchdog still
 * watches: first what they were goes to <root>/host-network/BRIDGE.json (and, for people, each old
 * file below <root>/host-network/BRIDGE/), then the files, then whoever reads them is told. If the
 * host then lacks an address, or if the watchdog was quicker, they are taken back. */
#include "config.h"

#include <linux/if_addr.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "net/bridge-private.h"
#include "net/link.h"

enum {
    RECORD_LIMIT_BYTES = 16 << 20,
    SETTLE_MS = 20000,
    LOOK_AGAIN_MS = 100,
};

static char *
record_path(const LodgeStore *store, const char *bridge, const char *suffix)
{
    g_autofree char *name = g_strconcat(bridge, suffix, NULL);
    return g_build_filename(store->root, "host-network", name, NULL);
}

gboolean
lodge_bridge_files_plan(LodgeNet *net, LodgeBridgeChange *change, GError **error)
{
    LodgeLinkInfo info;
    if (!lodge_link_look(net->netlink, change->uplink, &info)) {
        return lodge_error_set(error, LODGE_ERROR_NOT_FOUND, "%s is gone", change->uplink);
    }
    LodgeHostLink link = {change->sysroot, change->uplink, change->bridge, info.mac, info.index};
    change->files = lodge_host_change_plan(&link, error);
    return change->files != NULL;
}

gboolean
lodge_bridge_files_recall(const LodgeStore *store, LodgeBridgeChange *change, GError **error)
{
    g_autofree char *path = record_path(store, change->bridge, ".json");
    if (!g_file_test(path, G_FILE_TEST_EXISTS)) {
        return TRUE;
    }
    g_autoptr(json_t) value = lodge_json_read(path, RECORD_LIMIT_BYTES, error);
    change->files = value != NULL ? lodge_host_change_from_json(value, error) : NULL;
    return change->files != NULL && lodge_host_change_check(change->files, change->sysroot, error);
}

static gboolean
write_record(const LodgeStore *store, const LodgeBridgeChange *change, GError **error)
{
    g_autofree char *path = record_path(store, change->bridge, ".json");
    g_autofree char *folder = record_path(store, change->bridge, "");
    g_autofree char *parent = g_path_get_dirname(path);
    g_autoptr(json_t) value = lodge_host_change_json(change->files);
    g_autofree char *text = json_dumps(value, JSON_INDENT(2));
    /* There may be secrets in them. */
    if (!lodge_dir_make(parent, 0700, error) ||
        !lodge_file_write(path, text, strlen(text), 0600, LODGE_WRITE_DEFAULT, error)) {
        return FALSE;
    }
    for (guint i = 0; i < change->files->before->len; i++) {
        const LodgeHostFile *file = change->files->before->pdata[i];
        g_autofree char *copy = g_strconcat(folder, file->path, NULL);
        g_autofree char *copy_folder = g_path_get_dirname(copy);
        if (file->text != NULL &&
            (!lodge_dir_make(copy_folder, 0700, error) ||
             !lodge_file_write(copy, file->text, strlen(file->text), (mode_t)file->mode,
                               LODGE_WRITE_DEFAULT, error))) {
            return FALSE;
        }
    }
    return TRUE;
}

static void
forget_record(const LodgeStore *store, const char *bridge)
{
    g_autofree char *path = record_path(store, bridge, ".json");
    g_autofree char *folder = record_path(store, bridge, "");
    unlink(path);
    lodge_tree_remove(folder, NULL);
}

/* Has the link that has them now all addresses that were moved? */
static gboolean
has_addresses(LodgeNet *net, const LodgeBridgeChange *change)
{
    int index = lodge_link_index(change->to_bridge ? change->bridge : change->uplink);
    g_autoptr(LodgeLinkState) now = lodge_link_state_capture(net->netlink, index, NULL);
    g_auto(GStrv) wanted = lodge_link_state_addresses(change->state);
    g_auto(GStrv) found = now != NULL ? lodge_link_state_addresses(now) : NULL;
    for (gsize i = 0; wanted[i] != NULL; i++) {
        if (found == NULL || !g_strv_contains((const char *const *)found, wanted[i])) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean
announce(LodgeNet *net, const LodgeBridgeChange *change, gboolean forward, GError **error)
{
    if (change->sysroot != NULL && *change->sysroot != '\0') {
        return TRUE; /* files that nobody reads */
    }
    lodge_host_change_announce(change->files, change->bridge, forward,
                               lodge_link_state_is_dynamic(change->state));
    gint64 deadline = lodge_deadline_in(SETTLE_MS);
    while (!has_addresses(net, change)) {
        if (lodge_deadline_passed(deadline)) {
            return lodge_error_set(error, LODGE_ERROR_FAILED,
                                   "%s has its new files and took an address away",
                                   lodge_manager_word(change->files->manager));
        }
        if (!lodge_wait_for(LOOK_AGAIN_MS, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

gboolean
lodge_bridge_files_write(LodgeNet *net, const LodgeBridgeChange *change, GError **error)
{
    if (change->files == NULL) {
        return TRUE;
    }
    if ((!change->to_bridge || write_record(net->store, change, error)) &&
        lodge_host_change_apply(change->files, change->sysroot, change->to_bridge, error) &&
        announce(net, change, change->to_bridge, error)) {
        return TRUE;
    }
    lodge_bridge_files_take_back(net, change, NULL);
    return lodge_error_prefix(error, "making it last");
}

gboolean
lodge_bridge_files_take_back(LodgeNet *net, const LodgeBridgeChange *change, GError **error)
{
    if (change->files == NULL) {
        return TRUE;
    }
    g_autofree char *path = record_path(net->store, change->bridge, ".json");
    /* Without a record nothing was written. */
    if (!g_file_test(path, G_FILE_TEST_EXISTS)) {
        return TRUE;
    }
    gboolean fine = lodge_host_change_apply(change->files, change->sysroot, !change->to_bridge,
                                            error);
    if (change->sysroot == NULL || *change->sysroot == '\0') {
        lodge_host_change_announce(change->files, change->bridge, !change->to_bridge,
                                   lodge_link_state_is_dynamic(change->state));
    }
    if (fine && change->to_bridge) {
        forget_record(net->store, change->bridge);
    }
    return fine;
}

void
lodge_bridge_files_settle(const LodgeStore *store, const LodgeBridgeChange *change)
{
    if (!change->to_bridge && change->files != NULL) {
        forget_record(store, change->bridge);
    }
}
