/* A look at a running guest: its screen, its keys, its monitor.
 *
 * These have a monitor of their own (view.qmp), so that a guest can be seen and typed into while a
 * verb holds its job lock: when `start` waits in vain, above all. QEMU serves one client on it at a
 * time; view.lock makes the others wait, or tells them who has it. */
#pragma once

#include <glib.h>

#include "qmp/qmp.h"
#include "store/store.h"

/* What one look's commands may take, with room for a busy host. */
#define LODGE_VIEW_TIMEOUT_MS 10000

typedef struct {
    LodgeQmp *qmp;
    char *name;
    int lock_fd;
} LodgeView;

/* Check that @name is a guest that has a QEMU, and that this has a keeper. Its state, or NULL with
 * NOT_FOUND or BUSY. */
LodgeGuestState *lodge_view_check(const LodgeStore *store, const char *name, GError **error);

/* Connect. Errors as above; BUSY names the process that has the monitor, if it keeps it; TIMEOUT if
 * QEMU does not answer. */
LodgeView *lodge_view_begin(const LodgeStore *store, const char *name, GError **error);
void lodge_view_end(LodgeView *view);

/* The lock alone, for those who bring their own connection: a descriptor that holds it, or -1. */
int lodge_view_lock(const LodgeStore *store, const char *name, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeView, lodge_view_end)

/* The guest's screen as a PNG picture: its bytes (g_free), their number in @out_length, and its
 * size in pixels. UNSUPPORTED if it has no graphics device. */
char *lodge_screenshot(const LodgeStore *store, const char *name, gsize *out_length,
                       guint *out_width, guint *out_height, GError **error);

/* Press @chords ("ctrl-alt-del"; NULL-terminated, or NULL), then type @text (may be NULL), then
 * Enter if @enter, as fast as a guest can take it. USAGE names what no key of a US keyboard types,
 * before anything was sent. */
gboolean lodge_type(const LodgeStore *store, const char *name, const char *const *chords,
                    const char *text, gboolean enter, GError **error);

/* Run one command of QEMU's human monitor. Its output (g_free), with plain line ends. FAILED if
 * QEMU knows no such command. */
char *lodge_monitor_human(const LodgeStore *store, const char *name, const char *command,
                          GError **error);

/* Split what people write for a QMP command: {"execute": …}, or its name and perhaps its arguments,
 * a JSON object. @out_command: g_free; @out_arguments: new reference or NULL. USAGE. */
gboolean lodge_monitor_parse(const char *text, char **out_command, json_t **out_arguments,
                             GError **error);
