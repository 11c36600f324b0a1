#include "config.h"

#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "keeper/keeper.h"

enum {
    START_TIMEOUT_MS = 60000,
};

/* The unit is only for the system's own store; a store elsewhere is somebody's experiment. */
static gboolean
is_managed_by_systemd(const LodgeStore *store)
{
    return geteuid() == 0 && lodge_store_is_system(store) &&
           g_file_test("/run/systemd/system", G_FILE_TEST_IS_DIR) &&
           (g_file_test("/etc/systemd/system/lodge-guest@.service", G_FILE_TEST_EXISTS) ||
            g_file_test("/usr/local/lib/systemd/system/lodge-guest@.service", G_FILE_TEST_EXISTS) ||
            g_file_test("/usr/lib/systemd/system/lodge-guest@.service", G_FILE_TEST_EXISTS));
}

static gboolean
start_unit(const LodgeStore *store, const char *guest, GError **error)
{
    g_autofree char *unit = g_strdup_printf("lodge-guest@%s.service", guest);
    const char *argv[] = {"systemctl", "start", "--quiet", unit, NULL};
    if (lodge_process_run_argv(argv, START_TIMEOUT_MS, NULL, error)) {
        return TRUE;
    }
    /* systemd knows only that it failed; the keeper published why. */
    g_autoptr(LodgeGuestState) state = lodge_store_state(store, guest);
    if (state->reason != NULL) {
        g_clear_error(error);
        lodge_error_set(error, LODGE_ERROR_FAILED, "%s", state->reason);
    }
    return FALSE;
}

static gboolean
start_detached(const char *guest, LodgeKeeperFlags flags, GError **error)
{
    g_autofree char *program = lodge_program_own("lodge-keeper", LODGE_LIBEXEC_DIR);
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_ptr_array_add(argv, program);
    g_ptr_array_add(argv, (gpointer) "--report-fd=3");
    if (flags & LODGE_KEEPER_PAUSED) {
        g_ptr_array_add(argv, (gpointer) "--paused");
    }
    if (flags & LODGE_KEEPER_INCOMING) {
        g_ptr_array_add(argv, (gpointer) "--incoming");
    }
    if (flags & LODGE_KEEPER_ADOPT) {
        g_ptr_array_add(argv, (gpointer) "--adopt");
    }
    g_ptr_array_add(argv, (gpointer)guest);
    g_ptr_array_add(argv, NULL);
    return lodge_detached_start((const char *const *)argv->pdata, START_TIMEOUT_MS, error);
}

gboolean
lodge_keeper_start(const LodgeStore *store, const char *guest, LodgeKeeperFlags flags,
                   GError **error)
{
    /* A unit can't be told to start paused. */
    gboolean managed = is_managed_by_systemd(store) && !(flags & LODGE_KEEPER_PAUSED);
    g_autoptr(GError) problem = NULL;
    if (managed && start_unit(store, guest, &problem)) {
        return TRUE;
    }
    if (managed && !(flags & LODGE_KEEPER_ADOPT)) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return lodge_error_prefix(error, "guest %s", guest);
    }
    /* systemd before 254 can't start a unit's program beside the group that its guest still lives
     * in; a guest is better watched over outside its unit than not at all. */
    gboolean fine = start_detached(guest, flags, error);
    return fine || lodge_error_prefix(error, "guest %s", guest);
}

gboolean
lodge_keeper_start_from(const LodgeStore *store, const char *guest, const char *memory_file,
                        GError **error)
{
    g_autofree char *word = lodge_store_run_path(store, guest, LODGE_KEEPER_MEMORY);
    if (!lodge_file_write(word, memory_file, strlen(memory_file), 0600, LODGE_WRITE_NO_SYNC,
                          error)) {
        return FALSE;
    }
    lodge_fault("keeper-told");
    gboolean fine = lodge_keeper_start(store, guest, 0, error);
    unlink(word);
    return fine;
}

gboolean
lodge_keeper_tell_layout(const LodgeStore *store, const char *guest, const char *layout,
                         GError **error)
{
    g_autofree char *word = lodge_store_run_path(store, guest, LODGE_KEEPER_LAYOUT);
    if (layout == NULL) {
        unlink(word);
        return TRUE;
    }
    return lodge_file_write(word, layout, strlen(layout), 0600, LODGE_WRITE_NO_SYNC, error);
}

gboolean
lodge_keeper_ensure(const LodgeStore *store, const char *guest, GError **error)
{
    g_autoptr(LodgeGuestState) state = lodge_store_state(store, guest);
    if (!state->has_qemu || state->has_keeper) {
        return TRUE;
    }
    g_autoptr(GError) problem = NULL;
    if (lodge_keeper_start(store, guest, LODGE_KEEPER_ADOPT, &problem)) {
        return TRUE;
    }
    /* Ended since we looked: then there is nothing to adopt. */
    g_autoptr(LodgeGuestState) now = lodge_store_state(store, guest);
    if (!now->has_qemu || now->has_keeper) {
        return TRUE;
    }
    g_propagate_error(error, g_steal_pointer(&problem));
    return FALSE;
}
