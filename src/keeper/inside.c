#include "config.h"

#include "keeper/inside.h"

#include <glib-unix.h>

#include "agent/protocol.h"
#include "qmp/agent-control.h"

enum {
    PAUSE_MS = 1000,
    CHANGES_AT_MOST = 4, /* at once: each is published, and a guest could say any number */
    /* What a guest says of itself is published in a file that all read: it stays small. */
    NICS_AT_MOST = 16,
    ADDRESSES_AT_MOST = 16,
    TEXT_AT_MOST = 256,
};

struct Inside {
    char *socket_path;
    void (*changed)(int came, gpointer data);
    gpointer data;
    LodgeAgentControl *control;
    guint source;
    guint pause_source;
    guint changes; /* since the last pause, or second */
    gint64 counted_us;
    json_t *said; /* NULL: no agent */
};

Inside *
inside_new(const char *run_folder, void (*changed)(int came, gpointer data), gpointer data)
{
    Inside *inside = g_new0(Inside, 1);
    g_autofree char *file = g_strdup_printf(PORT_SOCKET, 0U);
    inside->socket_path = g_build_filename(run_folder, file, NULL);
    inside->changed = changed;
    inside->data = data;
    return inside;
}

static void
hang_up(Inside *inside)
{
    if (inside->source != 0) {
        g_source_remove(inside->source);
        inside->source = 0;
    }
    g_clear_pointer(&inside->control, lodge_agent_control_free);
}

void
inside_end(Inside *inside)
{
    hang_up(inside);
    if (inside->pause_source != 0) {
        g_source_remove(inside->pause_source);
        inside->pause_source = 0;
    }
    g_clear_pointer(&inside->said, json_decref);
}

void
inside_free(Inside *inside)
{
    if (inside != NULL) {
        inside_end(inside);
        g_free(inside->socket_path);
        g_free(inside);
    }
}

json_t *
inside_json(const Inside *inside)
{
    return inside->said;
}

static void
tell(Inside *inside, int came)
{
    gint64 now = g_get_monotonic_time();
    if (now - inside->counted_us > PAUSE_MS * G_TIME_SPAN_MILLISECOND) {
        inside->counted_us = now;
        inside->changes = 0;
    }
    inside->changes++;
    inside->changed(came, inside->data);
}

void
inside_closed(Inside *inside)
{
    if (inside->said != NULL) {
        g_clear_pointer(&inside->said, json_decref);
        tell(inside, -1);
    }
}

/* --- What is said ---------------------------------------------------------------------------- */

static json_t *
text_json(const char *text)
{
    g_autofree char *cut = text != NULL ? g_utf8_substring(
                                              text, 0, MIN(g_utf8_strlen(text, -1), TEXT_AT_MOST))
                                        : NULL;
    return lodge_json_string_or_null(cut);
}

static json_t *
nics_json(const GPtrArray *nics)
{
    json_t *list = json_array();
    for (guint i = 0; i < MIN(nics->len, NICS_AT_MOST); i++) {
        const LodgeAgentNic *nic = nics->pdata[i];
        json_t *addresses = json_array();
        for (gsize j = 0; nic->addresses[j] != NULL && j < ADDRESSES_AT_MOST; j++) {
            json_array_append_new(addresses, text_json(nic->addresses[j]));
        }
        json_array_append_new(list, json_pack("{s:o, s:o, s:b, s:o}", "name", text_json(nic->name),
                                              "mac", text_json(nic->mac), "up", nic->is_up,
                                              "addresses", addresses));
    }
    return list;
}

static void
take_ready(Inside *inside, const LodgeAgentInfo *info)
{
    gboolean was_there = inside->said != NULL;
    json_t *nics = was_there ? json_incref(json_object_get(inside->said, "nics")) : NULL;
    gint64 since_ms = was_there ? lodge_json_int(inside->said, "since_ms", 0)
                                : g_get_real_time() / 1000;
    g_clear_pointer(&inside->said, json_decref);
    inside->said = json_pack(
        "{s:o, s:I, s:o, s:o, s:o, s:o}", "version", text_json(info->agent_version), "since_ms",
        (json_int_t)since_ms, "hostname", text_json(info->hostname), "os", text_json(info->os_name),
        "kernel", text_json(info->kernel), "nics", nics != NULL ? nics : json_array());
    tell(inside, was_there ? 0 : 1);
}

static void
take_addresses(Inside *inside, const GPtrArray *nics)
{
    g_autoptr(json_t) list = nics_json(nics);
    if (inside->said != NULL && !json_equal(json_object_get(inside->said, "nics"), list)) {
        json_object_set(inside->said, "nics", list);
        tell(inside, 0);
    }
}

static void
take_events(Inside *inside)
{
    for (;;) {
        g_autoptr(LodgeAgentEvent) event = lodge_agent_control_take(inside->control);
        if (event == NULL) {
            return;
        }
        switch (event->kind) {
        case LODGE_AGENT_READY:
            take_ready(inside, event->info);
            break;
        case LODGE_AGENT_ADDRESSES:
            take_addresses(inside, event->nics);
            break;
        case LODGE_AGENT_INFO:
            break;
        case LODGE_AGENT_GONE:
            inside_closed(inside);
            break;
        }
    }
}

/* --- The connection -------------------------------------------------------------------------- */

static gboolean on_port(gint fd, GIOCondition condition, gpointer data);

static void
listen_port(Inside *inside)
{
    if (inside->control == NULL) {
        int fd = lodge_unix_connect(inside->socket_path, NULL);
        inside->control = fd >= 0 ? lodge_agent_control_new(fd) : NULL;
    }
    if (inside->control != NULL) {
        inside->source = g_unix_fd_add(lodge_agent_control_fd(inside->control),
                                       lodge_agent_control_fd_events(inside->control), on_port,
                                       inside);
    }
}

static gboolean
on_pause_end(gpointer data)
{
    Inside *inside = data;
    inside->pause_source = 0;
    inside->changes = 0;
    listen_port(inside);
    return G_SOURCE_REMOVE;
}

static gboolean
on_port(gint fd, GIOCondition condition, gpointer data)
{
    (void)fd;
    Inside *inside = data;
    gboolean is_open = lodge_agent_control_pump(inside->control);
    take_events(inside);
    gboolean is_noisy = inside->changes >= CHANGES_AT_MOST;
    if (is_open && !is_noisy && lodge_agent_control_fd_events(inside->control) == condition) {
        return G_SOURCE_CONTINUE;
    }
    inside->source = 0;
    if (!is_open) {
        /* QEMU has ended, which its pid descriptor tells at once; or it begins to serve anew. */
        hang_up(inside);
    }
    if (!is_open || is_noisy) {
        inside->pause_source = g_timeout_add(PAUSE_MS, on_pause_end, inside);
    } else {
        listen_port(inside);
    }
    return G_SOURCE_REMOVE;
}

void
inside_begin(Inside *inside, const json_t *known)
{
    inside_end(inside);
    inside->said = json_is_object(known) ? json_deep_copy(known) : NULL;
    listen_port(inside);
}
