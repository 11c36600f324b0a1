/* What QEMU and the guest tell while it runs: see guest-run.c. */
#include "config.h"

#include "keeper/guest-private.h"

#include <glib-unix.h>

#include "agent/protocol.h"

enum {
    RECONNECT_MS = 1000,
    RESETS_APART_US = G_USEC_PER_SEC,
};

static const char no_space[] =
    "no space is left on this host for its disks; it goes on by itself when there is";

static void
tell_agent(const Keeper *keeper, const char *agent, gboolean is_up)
{
    lodge_event_append(keeper->store, keeper->name, is_up ? "agent-up" : "agent-down",
                       json_pack("{s:s}", "agent", agent));
}

static void
set_agent(Keeper *keeper, gboolean open)
{
    if (keeper->agent != open) {
        keeper->agent = open;
        keeper_publish(keeper);
        tell_agent(keeper, "qemu-guest-agent", open);
    }
}

void
keeper_on_inside(int came, gpointer data)
{
    Keeper *keeper = data;
    keeper_publish(keeper);
    if (came != 0) {
        tell_agent(keeper, "lodge-agent", came > 0);
    }
}

/* For those who have a conversation there: it is over when its port is closed. QEMU tells at most
 * once a second of each, however often a guest opens and closes it. */
static void
set_port(Keeper *keeper, guint number, gboolean open)
{
    guint bit = 1U << number;
    if (((keeper->ports & bit) != 0) != open) {
        keeper->ports ^= bit;
        keeper_publish(keeper);
    }
}

/* A port of the guest's is open, or closed. That lodge-agent has opened its own says little: it
 * speaks when it is ready. */
static void
take_port(Keeper *keeper, const char *id, gboolean open)
{
    if (g_str_equal(id, "agent")) {
        set_agent(keeper, open);
        return;
    }
    for (guint i = 0; i < PORT_COUNT; i++) {
        g_autofree char *name = g_strdup_printf("agent-%u", i);
        if (g_str_equal(id, name)) {
            set_port(keeper, i, open);
        }
    }
    if (g_str_equal(id, "agent-0") && !open) {
        inside_closed(keeper->inside);
    }
}

/* QEMU that was adopted may have met the full host while nobody listened. */
static void
on_blocks(LodgeQmp *qmp, const json_t *result, const GError *error, gpointer data)
{
    (void)qmp;
    gsize index;
    json_t *device;
    Keeper *keeper = data;
    json_array_foreach (error == NULL ? result : NULL, index, device) {
        if (g_str_equal(lodge_json_string(device, "io-status", ""), "nospace")) {
            g_free(keeper->reason);
            keeper->reason = g_strdup(no_space);
            keeper_publish(keeper);
            space_wait(keeper->space);
            return;
        }
    }
}

static void
on_status(LodgeQmp *qmp, const json_t *result, const GError *error, gpointer data)
{
    Keeper *keeper = data;
    if (error != NULL) {
        return;
    }
    gboolean runs = lodge_json_bool(result, "running", FALSE);
    LodgeState state = runs ? LODGE_STATE_RUNNING : LODGE_STATE_PAUSED;
    /* One that was asked to stop runs until it has. */
    if (state != keeper->state && !(runs && keeper->state == LODGE_STATE_STOPPING)) {
        keeper->state = state;
        keeper_publish(keeper);
    }
    if (g_str_equal(lodge_json_string(result, "status", ""), "io-error")) {
        lodge_qmp_send(qmp, "query-block", NULL, -1, on_blocks, keeper, NULL);
    }
    /* Only now could it be known of a QEMU that was adopted. */
    if (!runs && !keeper->incoming) {
        mend_look(keeper->mend);
    }
}

/* Which ports the guest has open may have changed while nobody listened. */
static void
on_chardevs(LodgeQmp *qmp, const json_t *result, const GError *error, gpointer data)
{
    (void)qmp;
    Keeper *keeper = data;
    gsize index;
    json_t *device;
    json_array_foreach (error == NULL ? result : NULL, index, device) {
        take_port(keeper, lodge_json_string(device, "label", ""),
                  lodge_json_bool(device, "frontend-open", FALSE));
    }
}

/* Without waiting: an adopted QEMU may be stopped, or busy for long. */
void
keeper_ask_ports(Keeper *keeper)
{
    lodge_qmp_send(keeper->qmp, "query-chardev", NULL, -1, on_chardevs, keeper, NULL);
}

gboolean
keeper_connect_events(Keeper *keeper, GError **error)
{
    g_autofree char *path = keeper_run_path(keeper, "events.qmp");
    int fd = lodge_unix_connect(path, error);
    if (fd < 0) {
        return FALSE;
    }
    keeper->qmp = lodge_qmp_new(fd);
    return lodge_qmp_send(keeper->qmp, "query-status", NULL, -1, on_status, keeper, error) != 0 &&
           lodge_qmp_send(keeper->qmp, "query-chardev", NULL, -1, on_chardevs, keeper, error) != 0;
}

void
keeper_drop_qmp(Keeper *keeper)
{
    if (keeper->qmp_source != 0) {
        g_source_remove(keeper->qmp_source);
        keeper->qmp_source = 0;
    }
    if (keeper->reconnect_source != 0) {
        g_source_remove(keeper->reconnect_source);
        keeper->reconnect_source = 0;
    }
    watch_use(keeper->watch, NULL);
    g_clear_pointer(&keeper->qmp, lodge_qmp_free);
}

static void
on_shutdown(Keeper *keeper, const json_t *data)
{
    const char *cause = lodge_json_string(data, "reason", "");
    if (g_str_equal(cause, "guest-panic")) {
        return; /* GUEST_PANICKED said it already */
    }
    if (g_str_equal(cause, "host-error")) {
        return; /* nobody asked for that end */
    }
    keeper->ended_by_request = TRUE;
    keeper_enter(keeper, LODGE_STATE_STOPPING, "stopping", NULL);
}

/* One reset makes several events, and a guest could make any number: the log is others' too. */
static void
on_reset(Keeper *keeper)
{
    gint64 now = g_get_monotonic_time();
    if (keeper->reset_us == 0 || now - keeper->reset_us > RESETS_APART_US) {
        keeper->reset_us = now;
        lodge_event_append(keeper->store, keeper->name, "reset", NULL);
    }
}

static void
on_panic(Keeper *keeper)
{
    static const char reason[] = "the guest's kernel panicked (`lodge log` shows its console)";
    static const char again[] = "the guest's kernel panics over and over, so it is not restarted "
                                "any more (`lodge log` shows its console)";
    gboolean wants_restart = keeper->on_crash == LODGE_CRASH_RESTART;
    gboolean restarts = wants_restart && keeper_may_restart(keeper);
    keeper_enter(keeper, LODGE_STATE_PAUSED, "panicked",
                 wants_restart && !restarts ? again : reason);
    if (restarts) {
        lodge_qmp_send(keeper->qmp, "system_reset", NULL, -1, NULL, NULL, NULL);
        lodge_qmp_send(keeper->qmp, "cont", NULL, -1, NULL, NULL, NULL);
    }
}

static void
on_io_error(Keeper *keeper, const json_t *data)
{
    if (!g_str_equal(lodge_json_string(data, "action", ""), "stop")) {
        return;
    }
    if (lodge_json_bool(data, "nospace", FALSE)) {
        /* Each write that waits says it. */
        if (keeper->state != LODGE_STATE_PAUSED) {
            keeper_enter(keeper, LODGE_STATE_PAUSED, "no-space", no_space);
        }
        space_wait(keeper->space);
        return;
    }
    g_autofree char *device = lodge_text_printable(lodge_json_string(data, "device", "?"));
    g_autofree char *reason = g_strdup_printf("disk %s: %s", device,
                                              lodge_json_string(data, "reason", "I/O error"));
    keeper_enter(keeper, LODGE_STATE_PAUSED, "io-error", reason);
}

void
keeper_continue(gpointer data)
{
    Keeper *keeper = data;
    if (keeper->qmp != NULL) {
        lodge_qmp_send(keeper->qmp, "cont", NULL, -1, NULL, NULL, NULL);
        keeper_watch_qmp(keeper);
    } else {
        space_wait(keeper->space);
    }
}

static void
on_event(Keeper *keeper, const json_t *event)
{
    const char *name = lodge_qmp_event_name(event);
    const json_t *data = lodge_qmp_event_data(event);
    if (g_str_equal(name, "SHUTDOWN")) {
        on_shutdown(keeper, data);
    } else if (g_str_equal(name, "STOP")) {
        /* The reason, if there is one, came just before. */
        if (keeper->state != LODGE_STATE_PAUSED && !keeper->ended_by_request) {
            keeper_enter(keeper, LODGE_STATE_PAUSED, "paused", NULL);
        }
        mend_look(keeper->mend);
    } else if (g_str_equal(name, "RESUME")) {
        space_forget(keeper->space);
        keeper_enter(keeper, LODGE_STATE_RUNNING, "resumed", NULL);
        if (keeper->incoming) {
            /* Its agent's port was opened in another life: no event tells. */
            keeper->incoming = FALSE;
            keeper_ask_ports(keeper);
        }
    } else if (g_str_equal(name, "RESET")) {
        on_reset(keeper);
    } else if (g_str_equal(name, "POWERDOWN") && keeper->state != LODGE_STATE_STOPPING) {
        keeper_enter(keeper, LODGE_STATE_STOPPING, "asked-to-stop", NULL);
    } else if (g_str_equal(name, "GUEST_PANICKED")) {
        on_panic(keeper);
    } else if (g_str_equal(name, "BLOCK_IO_ERROR")) {
        on_io_error(keeper, data);
    } else if (g_str_equal(name, "VSERPORT_CHANGE")) {
        take_port(keeper, lodge_json_string(data, "id", ""), lodge_json_bool(data, "open", FALSE));
    }
}

static gboolean on_qmp(gint fd, GIOCondition condition, gpointer data);
static void reconnect_later(Keeper *keeper);

void
keeper_watch_qmp(Keeper *keeper)
{
    if (keeper->qmp_source != 0) {
        g_source_remove(keeper->qmp_source);
    }
    keeper->qmp_source = g_unix_fd_add(lodge_qmp_fd(keeper->qmp), lodge_qmp_fd_events(keeper->qmp),
                                       on_qmp, keeper);
}

static gboolean
on_reconnect(gpointer data)
{
    Keeper *keeper = data;
    keeper->reconnect_source = 0;
    if (keeper_connect_events(keeper, NULL)) {
        keeper_watch_qmp(keeper);
        watch_use(keeper->watch, keeper->qmp);
    } else {
        reconnect_later(keeper);
    }
    return G_SOURCE_REMOVE;
}

/* Let go of what is left of the connection, and try again. If QEMU has ended, its pid descriptor
 * says so before, and that ends the trying: a QEMU that is started then has a connection. */
static void
reconnect_later(Keeper *keeper)
{
    keeper_drop_qmp(keeper);
    keeper->reconnect_source = g_timeout_add(RECONNECT_MS, on_reconnect, keeper);
}

gboolean
keeper_connect_patiently(Keeper *keeper, GError **error)
{
    g_autoptr(GError) problem = NULL;
    if (keeper_connect_events(keeper, &problem)) {
        return TRUE;
    }
    if (g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_BUSY)) {
        reconnect_later(keeper);
        return TRUE;
    }
    g_propagate_error(error, g_steal_pointer(&problem));
    return FALSE;
}

void
keeper_take_events(Keeper *keeper)
{
    for (;;) {
        g_autoptr(json_t) event = lodge_qmp_take_event(keeper->qmp);
        if (event == NULL) {
            return;
        }
        on_event(keeper, event);
    }
}

static gboolean
on_qmp(gint fd, GIOCondition condition, gpointer data)
{
    (void)fd;
    Keeper *keeper = data;
    guint source = keeper->qmp_source; /* replies may send, and have another put in its place */
    gboolean open = lodge_qmp_pump(keeper->qmp, NULL);
    keeper_take_events(keeper);
    if (!open) {
        if (keeper->qmp_source != source) {
            g_source_remove(keeper->qmp_source);
        }
        keeper->qmp_source = 0;
        reconnect_later(keeper);
        return G_SOURCE_REMOVE;
    }
    if (keeper->qmp_source != source || lodge_qmp_fd_events(keeper->qmp) != condition) {
        keeper->qmp_source = keeper->qmp_source == source ? 0 : keeper->qmp_source;
        keeper_watch_qmp(keeper);
        return G_SOURCE_REMOVE;
    }
    return G_SOURCE_CONTINUE;
}
