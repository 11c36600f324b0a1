#include "config.h"

#include <signal.h>
#include <sys/stat.h>

#include "base/base.h"
#include "keeper/keeper.h"
#include "ops/nic-live.h"

enum {
    RECORD_LIMIT_BYTES = 65536,
    CHANGE_TIMEOUT_MS = 20000,
    LOOK_MS = 10,
};

void
nic_tell_keeper(const Session *session)
{
    g_autofree char *path = lodge_store_run_path(session->store, session->guest->name,
                                                 "keeper.lock");
    lodge_autofd keeper = lodge_lock_open_holder(path, NULL);
    if (keeper >= 0) {
        lodge_pid_fd_signal(keeper, SIGHUP, NULL);
    }
}

static char *
record_path(const Session *session, guint index)
{
    g_autofree char *name = g_strdup_printf("passt-%u.json", index);
    return lodge_store_run_path(session->store, session->guest->name, name);
}

gboolean
nic_has_passt(const Session *session, guint index)
{
    g_autofree char *path = record_path(session, index);
    return g_file_test(path, G_FILE_TEST_EXISTS);
}

/* Has passt the forwards, or could it not have them? What an older record says of problems is of
 * another change. */
static gboolean
is_decided(const char *path, const char *wanted, gboolean is_new, GError **error)
{
    g_autoptr(json_t) record = lodge_json_read(path, RECORD_LIMIT_BYTES, NULL);
    const char *problem = lodge_json_string(record, "problem", NULL);
    if (g_str_equal(lodge_json_string(record, "forward", ""), wanted)) {
        return TRUE;
    }
    if (is_new && problem != NULL) {
        lodge_error_set(error, LODGE_ERROR_FAILED, "%s", problem);
    }
    return is_new && problem != NULL;
}

/* Each record is another file. */
static gboolean
is_newer(const char *path, const struct stat *old)
{
    struct stat info;
    return stat(path, &info) == 0 &&
           (info.st_ino != old->st_ino || info.st_mtim.tv_sec != old->st_mtim.tv_sec ||
            info.st_mtim.tv_nsec != old->st_mtim.tv_nsec);
}

gboolean
nic_forward_by_passt(const LiveChange *change, const LodgeNic *nic, guint index, GError **error)
{
    struct stat old = {0};
    const Session *session = change->session;
    const char *wanted = nic->forward != NULL ? nic->forward : "";
    g_autofree char *path = record_path(session, index);
    g_autoptr(GError) problem = NULL;
    gint64 deadline = lodge_deadline_in(CHANGE_TIMEOUT_MS);
    stat(path, &old);
    if (!lodge_keeper_ensure(session->store, session->guest->name, error)) {
        return FALSE;
    }
    nic_tell_keeper(session);
    while (!is_decided(path, wanted, is_newer(path, &old), &problem)) {
        if (lodge_deadline_passed(deadline)) {
            return lodge_error_set(error, LODGE_ERROR_TIMEOUT,
                                   "its keeper has not begun passt anew after %d s",
                                   CHANGE_TIMEOUT_MS / 1000);
        }
        if (!lodge_wait_for(LOOK_MS, error)) {
            return FALSE;
        }
    }
    if (problem != NULL) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    return TRUE;
}
