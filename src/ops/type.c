/* Theory of operation: typing at a guest's pace.
 *
 * QEMU's keyboard has a queue of a few keys and drops what does not fit, silently. So a key is
 * pressed, and released, with a pause after each that even an emulated guest keeps up with; nothing
 * tells when it has read them. */
#include "config.h"

#include "base/base.h"
#include "ops/keys.h"
#include "ops/session.h"
#include "ops/view.h"

enum {
    HOLD_MS = 12,       /* a key down, and again until the next */
    CHORD_HOLD_MS = 80, /* for keys that somebody looks for by polling: firmware, boot menus */
};

static void
add_event(json_t *events, const char *key, gboolean down)
{
    json_array_append_new(events, json_pack("{s:s, s:{s:b, s:{s:s, s:s}}}", "type", "key", "data",
                                            "down", down, "key", "type", "qcode", "data", key));
}

static gboolean
send_events(LodgeView *view, json_t *events, gint64 pause_ms, GError **error)
{
    return lodge_qmp_run(view->qmp, lodge_deadline_in(LODGE_VIEW_TIMEOUT_MS), error,
                         "input-send-event", "{s:o}", "events", events) &&
           lodge_wait_for(pause_ms, error);
}

static gboolean
press(LodgeView *view, const char *const *keys, guint count, gint64 hold_ms, GError **error)
{
    json_t *down = json_array();
    json_t *up = json_array();
    for (guint i = 0; i < count; i++) {
        add_event(down, keys[i], TRUE);
        add_event(up, keys[count - 1 - i], FALSE);
    }
    g_autoptr(GError) problem = NULL;
    gboolean fine = send_events(view, down, hold_ms, &problem);
    /* Let go of them in any case: a guest whose Ctrl hangs is no good. */
    int signal_number = lodge_interrupt_signal();
    lodge_interrupt_forget();
    gboolean released = send_events(view, up, hold_ms, fine ? &problem : NULL);
    if (fine && released && signal_number == 0) {
        return TRUE;
    }
    if (problem == NULL) {
        return lodge_error_set(error, LODGE_ERROR_INTERRUPTED, "interrupted");
    }
    g_propagate_error(error, g_steal_pointer(&problem));
    return FALSE;
}

static gboolean
press_strokes(LodgeView *view, const GArray *strokes, GError **error)
{
    for (guint i = 0; i < strokes->len; i++) {
        LodgeStroke stroke = g_array_index(strokes, LodgeStroke, i);
        const char *keys[] = {stroke.shift ? "shift" : stroke.key, stroke.key};
        if (!press(view, keys, stroke.shift ? 2 : 1, HOLD_MS, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean
press_all(LodgeView *view, const GPtrArray *chords, const GArray *strokes, GError **error)
{
    for (guint i = 0; i < chords->len; i++) {
        const GPtrArray *chord = chords->pdata[i];
        if (!press(view, (const char *const *)chord->pdata, chord->len, CHORD_HOLD_MS, error)) {
            return FALSE;
        }
    }
    return press_strokes(view, strokes, error);
}

static GPtrArray *
parse_chords(const char *const *texts, GError **error)
{
    g_autoptr(GPtrArray) chords = g_ptr_array_new_with_free_func((GDestroyNotify)g_ptr_array_unref);
    for (gsize i = 0; texts != NULL && texts[i] != NULL; i++) {
        GPtrArray *chord = lodge_chord_parse(texts[i], error);
        if (chord == NULL) {
            return NULL;
        }
        g_ptr_array_add(chords, chord);
    }
    return g_steal_pointer(&chords);
}

gboolean
lodge_type(const LodgeStore *store, const char *name, const char *const *chords, const char *text,
           gboolean enter, GError **error)
{
    g_autofree char *whole = g_strconcat(text != NULL ? text : "", enter ? "\n" : "", NULL);
    g_autoptr(GPtrArray) parsed = parse_chords(chords, error);
    g_autoptr(GArray) strokes = parsed != NULL ? lodge_strokes_of(whole, error) : NULL;
    if (strokes == NULL) {
        return FALSE;
    }
    g_autoptr(LodgeGuestState) state = lodge_view_check(store, name, error);
    if (state == NULL) {
        return FALSE;
    }
    if (state->state == LODGE_STATE_PAUSED) {
        return lodge_refuse_state(name, state, error);
    }
    g_autoptr(LodgeView) view = lodge_view_begin(store, name, error);
    if (view == NULL) {
        return FALSE;
    }
    return press_all(view, parsed, strokes, error) || lodge_error_prefix(error, "guest %s", name);
}
