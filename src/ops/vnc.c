#include "config.h"

#include "ops/vnc.h"

#include <string.h>

#include "base/base.h"
#include "ops/view.h"

enum {
    FIRST_PORT = 5900,
};

int
lodge_vnc_listen_unix(const LodgeStore *store, const char *name, int *out_lock_fd, GError **error)
{
    g_autofree char *lock_path = lodge_store_run_path(store, name, "vnc.lock");
    g_autofree char *path = lodge_store_run_path(store, name, "vnc.sock");
    lodge_autofd lock = lodge_lock_take(lock_path, error);
    if (lock < 0 || !lodge_lock_write_pid(lock, 0, error)) {
        return -1;
    }
    int fd = lodge_unix_listen(path, 0600, error);
    if (fd >= 0) {
        *out_lock_fd = lodge_fd_steal(&lock);
    }
    return fd;
}

static gboolean
has_screen(LodgeView *view, gint64 deadline, GError **error)
{
    g_autoptr(json_t)
        servers = lodge_qmp_ask(view->qmp, deadline, error, "query-vnc-servers", NULL);
    if (servers == NULL) {
        return FALSE;
    }
    return json_array_size(servers) > 0 ||
           lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                           "it has no screen (see video= in its definition; `lodge console %s` "
                           "shows its serial console)",
                           view->name);
}

gboolean
lodge_vnc_check(const LodgeStore *store, const char *name, GError **error)
{
    g_autoptr(LodgeView) view = lodge_view_begin(store, name, error);
    return view != NULL && (has_screen(view, lodge_deadline_in(LODGE_VIEW_TIMEOUT_MS), error) ||
                            lodge_error_prefix(error, "guest %s", name));
}

gboolean
lodge_vnc_hand_over(const LodgeStore *store, const char *name, int fd, gboolean vouched,
                    GError **error)
{
    g_autoptr(LodgeView) view = lodge_view_begin(store, name, error);
    if (view == NULL) {
        return FALSE;
    }
    gint64 deadline = lodge_deadline_in(LODGE_VIEW_TIMEOUT_MS);
    g_autoptr(json_t) taken = NULL;
    if (!has_screen(view, deadline, error) ||
        (taken = lodge_qmp_call_fd(view->qmp, "getfd", json_pack("{s:s}", "fdname", "viewer"), fd,
                                   deadline, error)) == NULL ||
        !lodge_qmp_run(view->qmp, deadline, error, "add_client", "{s:s, s:s, s:b}", "protocol",
                       "vnc", "fdname", "viewer", "skipauth", vouched)) {
        return lodge_error_prefix(error, "guest %s", name);
    }
    return TRUE;
}

gboolean
lodge_vnc_set_password(const LodgeStore *store, const char *name, const char *password,
                       GError **error)
{
    gsize length = password != NULL ? strlen(password) : 0;
    if (password != NULL && (length == 0 || length > LODGE_VNC_PASSWORD_LENGTH)) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "a VNC password has 1 to %d characters, and this has %zu: what is "
                               "beyond would not be looked at",
                               LODGE_VNC_PASSWORD_LENGTH, length);
    }
    g_autoptr(LodgeView) view = lodge_view_begin(store, name, error);
    if (view == NULL) {
        return FALSE;
    }
    gint64 deadline = lodge_deadline_in(LODGE_VIEW_TIMEOUT_MS);
    gboolean fine = has_screen(view, deadline, error) &&
                    (password == NULL ||
                     lodge_qmp_run(view->qmp, deadline, error, "set_password", "{s:s, s:s}",
                                   "protocol", "vnc", "password", password)) &&
                    lodge_qmp_run(view->qmp, deadline, error, "expire_password", "{s:s, s:s}",
                                  "protocol", "vnc", "time", password != NULL ? "never" : "now");
    return fine || lodge_error_prefix(error, "guest %s", name);
}

const LodgeVncViewer *
lodge_vnc_viewer(void)
{
    static const LodgeVncViewer viewers[] = {
        {"xtigervncviewer", TRUE, NULL, NULL, 0},
        {"remote-viewer", FALSE, NULL, "vnc://127.0.0.1:%u", 0},
        {"gvncviewer", FALSE, NULL, "127.0.0.1:%u", FIRST_PORT},
        {"vncviewer", FALSE, NULL, "127.0.0.1::%u", 0},
        {"vinagre", FALSE, NULL, "vnc://127.0.0.1:%u", 0},
        {"gnome-connections", FALSE, NULL, "vnc://127.0.0.1:%u", 0},
        {"krdc", FALSE, NULL, "vnc://127.0.0.1:%u", 0},
        {"remmina", FALSE, "-c", "vnc://127.0.0.1:%u", 0},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(viewers); i++) {
        g_autofree char *path = g_find_program_in_path(viewers[i].program);
        if (path != NULL) {
            return &viewers[i];
        }
    }
    return NULL;
}
