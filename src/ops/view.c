#include "config.h"

#include "ops/view.h"

#include "base/base.h"
#include "keeper/keeper.h"
#include "ops/session.h"

enum {
    LOCK_TIMEOUT_MS = 3000,
};

LodgeGuestState *
lodge_view_check(const LodgeStore *store, const char *name, GError **error)
{
    g_autoptr(LodgeGuest) guest = lodge_store_guest(store, name, error);
    if (guest == NULL || !lodge_keeper_ensure(store, name, error)) {
        return NULL;
    }
    g_autoptr(LodgeGuestState) state = lodge_store_state(store, name);
    if (!state->has_qemu) {
        lodge_refuse_state(name, state, error);
        return NULL;
    }
    return g_steal_pointer(&state);
}

int
lodge_view_lock(const LodgeStore *store, const char *name, GError **error)
{
    g_autofree char *path = lodge_store_run_path(store, name, "view.lock");
    g_autoptr(GError) problem = NULL;
    lodge_autofd fd = lodge_lock_take_within(path, LOCK_TIMEOUT_MS, &problem);
    if (fd >= 0 && lodge_lock_write_pid(fd, 0, &problem)) {
        return lodge_fd_steal(&fd);
    }
    if (g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_BUSY)) {
        pid_t pid = 0;
        lodge_autofd holder = lodge_lock_open_holder(path, &pid);
        lodge_error_set(error, LODGE_ERROR_BUSY,
                        "guest %s: process %d has its monitor, and QEMU serves one at a time", name,
                        holder >= 0 ? (int)pid : 0);
        return -1;
    }
    g_propagate_error(error, g_steal_pointer(&problem));
    return -1;
}

LodgeView *
lodge_view_begin(const LodgeStore *store, const char *name, GError **error)
{
    g_autoptr(LodgeGuestState) state = lodge_view_check(store, name, error);
    if (state == NULL) {
        return NULL;
    }
    g_autoptr(LodgeView) view = g_new0(LodgeView, 1);
    view->name = g_strdup(name);
    view->lock_fd = lodge_view_lock(store, name, error);
    if (view->lock_fd < 0) {
        return NULL;
    }
    view->qmp = lodge_monitor_connect(store, name, "view.qmp", LODGE_VIEW_TIMEOUT_MS, error);
    if (view->qmp == NULL) {
        lodge_error_prefix(error, "guest %s", name);
        return NULL;
    }
    return g_steal_pointer(&view);
}

void
lodge_view_end(LodgeView *view)
{
    if (view != NULL) {
        lodge_qmp_free(view->qmp);
        lodge_fd_clear(&view->lock_fd);
        g_free(view->name);
        g_free(view);
    }
}
