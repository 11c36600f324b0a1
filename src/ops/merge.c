/* Theory of operation: how a layer goes.
 *
 * Its neighbour above is copied into it, and what named the neighbour names it instead. While that
 * goes on nobody sees anything but the neighbour, which covers what is half written below it. When
 * both hold the same, the journal `.merging` says so; then names are changed one by one, in any
 * order, any number of times; then the neighbour's file goes, then the journal.
 *
 * For a layer that a running QEMU writes it must not write between those two moments: it is stopped
 * for them, some milliseconds. The journal is written before QEMU turns to the lower layer, with
 * done=no. Who finds it so asks QEMU which of both it uses. If QEMU is gone the upper one is right
 * in any case: it still covers all. */
#include "config.h"

#include "ops/merge.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "ops/backup-bitmaps.h"
#include "ops/given-up.h"
#include "ops/layer-files.h"
#include "qemu/img.h"
#include "store/snapshots.h"

static char *
journal_path(const Session *session)
{
    return lodge_store_snapshot_path(session->store, session->guest->name, ".merging", NULL);
}

Merging *
merging_read(const Session *session)
{
    g_autofree char *path = journal_path(session);
    g_autoptr(GKeyFile) file = g_key_file_new();
    if (!g_key_file_load_from_file(file, path, G_KEY_FILE_NONE, NULL)) {
        return NULL;
    }
    g_autoptr(Merging) merging = g_new0(Merging, 1);
    merging->from = g_key_file_get_string(file, "merging", "from", NULL);
    merging->into = g_key_file_get_string(file, "merging", "into", NULL);
    merging->format = g_key_file_get_string(file, "merging", "format", NULL);
    merging->done = g_key_file_get_boolean(file, "merging", "done", NULL);
    merging->resume = g_key_file_get_boolean(file, "merging", "resume", NULL);
    gboolean whole = merging->from != NULL && merging->into != NULL && merging->format != NULL;
    return whole ? g_steal_pointer(&merging) : NULL;
}

gboolean
merging_write(const Session *session, const Merging *merging, GError **error)
{
    g_autofree char *path = journal_path(session);
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_key_file_set_string(file, "merging", "from", merging->from);
    g_key_file_set_string(file, "merging", "into", merging->into);
    g_key_file_set_string(file, "merging", "format", merging->format);
    g_key_file_set_boolean(file, "merging", "done", merging->done);
    g_key_file_set_boolean(file, "merging", "resume", merging->resume);
    g_autofree char *text = g_key_file_to_data(file, NULL, NULL);
    return lodge_file_write(path, text, strlen(text), 0600, LODGE_WRITE_DEFAULT, error);
}

void
merging_end(const Session *session)
{
    g_autofree char *path = journal_path(session);
    unlink(path);
}

void
merging_free(Merging *merging)
{
    if (merging != NULL) {
        g_free(merging->from);
        g_free(merging->into);
        g_free(merging->format);
        g_free(merging);
    }
}

gboolean
merging_repoint(const Session *session, const Merging *merging, GError **error)
{
    g_autofree char *folder = layer_files_folder(session->store, session->guest->name);
    g_autofree char *from = layer_files_path(folder, merging->from);
    g_autofree char *into = layer_files_path(folder, merging->into);
    const Layer old = {.file = from, .format = (char *)"qcow2"};
    const Layer fresh = {.file = into, .format = merging->format};
    return layer_files_repoint(session, &old, &fresh, error);
}

static gboolean
merge_offline(const Session *session, const Layer *layer, const Layer *into, GError **error)
{
    g_autofree char *folder = layer_files_folder(session->store, session->guest->name);
    const Merging merging = {.from = (char *)layer_files_relative(folder, layer->file),
                             .into = (char *)layer_files_name(folder, into->file),
                             .format = into->format,
                             .done = TRUE};
    lodge_fault("merge-begin");
    if (!lodge_img_commit(layer->file, into->file, NULL, error)) {
        return FALSE;
    }
    lodge_fault("merge-committed");
    bitmaps_hand_on(session->store, session->guest->name, layer->file, into->file);
    if (!merging_write(session, &merging, error)) {
        return FALSE;
    }
    lodge_fault("merge-written");
    if (!merging_repoint(session, &merging, error)) {
        return FALSE;
    }
    lodge_fault("merge-repointed");
    merging_end(session);
    return TRUE;
}

static gboolean
apply(const Session *session, const GPtrArray *layers, const LayerStep *step,
      LodgeProgress *progress, GError **error)
{
    const Layer *layer = layers->pdata[step->layer];
    g_autofree char *name = g_path_get_basename(layer->file);
    if (step->act == LAYER_REMOVE) {
        return lodge_tree_remove(layer->file, error); /* a TPM's state is a folder */
    }
    lodge_progress_stage(progress, "%s is merged into what it stands on", name);
    return session->state->has_qemu && merge_is_live(session, layer)
               ? merge_live(session, layers, step, progress, error)
               : merge_offline(session, layer, layers->pdata[step->into], error);
}

/* Folders that hold nothing any more. */
static void
remove_empty(const Session *session)
{
    static const char *const names[] = {"layers", "snapshots"};
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = lodge_store_guest_path(session->store, session->guest->name,
                                                       names[i]);
        rmdir(path);
    }
}

/* What is named again, or gone, is given up no longer. */
static gboolean
shorten_list(const Session *session, const GPtrArray *layers, GError **error)
{
    g_autofree char *folder = layer_files_folder(session->store, session->guest->name);
    g_autoptr(GPtrArray) files = g_ptr_array_new();
    for (guint i = 0; i < layers->len; i++) {
        const Layer *layer = layers->pdata[i];
        if (layer->given_up && !layer->named && !layer->elsewhere) {
            g_ptr_array_add(files, (gpointer)layer_files_relative(folder, layer->file));
        }
    }
    g_ptr_array_add(files, NULL);
    return given_up_write(session->store, session->guest->name, (const char *const *)files->pdata,
                          error);
}

gboolean
merge_given_up(const Session *session, LodgeProgress *progress, GError **error)
{
    const char *guest = session->guest->name;
    for (;;) {
        /* Read anew for each step: what a step does is on disk, and nowhere else. */
        g_autoptr(GPtrArray) layers = layer_files_gather(session->store, guest, error);
        g_autoptr(GArray) steps = layers != NULL ? layers_plan(layers) : NULL;
        if (steps == NULL) {
            return FALSE;
        }
        if (steps->len == 0) {
            gboolean fine = shorten_list(session, layers, error);
            remove_empty(session);
            return fine;
        }
        if (!apply(session, layers, &g_array_index(steps, LayerStep, 0), progress, error)) {
            return FALSE;
        }
    }
}
