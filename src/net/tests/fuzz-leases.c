/* dnsmasq's file of leases, with the names that guests gave themselves. */
#include "config.h"

#include "base/tests/fuzz.h"
#include "net/define.h"

static LodgeStore *
make_store(void)
{
    g_autofree char *folder = g_dir_make_tmp("lodge-fuzz-XXXXXX", NULL);
    g_autofree char *networks = g_build_filename(folder, "networks", NULL);
    g_autofree char *definition = g_build_filename(networks, "fuzz.conf", NULL);
    g_setenv("LODGE_DIR", folder, TRUE);
    g_assert_true(lodge_dir_make(networks, 0755, NULL));
    g_assert_true(g_file_set_contents(
        definition, "[network]\nmode=isolated\nsubnet=10.1.2.0/24\nip=4\n", -1, NULL));
    return lodge_store_open(NULL);
}

static void
fuzz_one(const guint8 *data, gsize size)
{
    static LodgeStore *store;
    store = store != NULL ? store : make_store();
    g_autofree char *path = g_build_filename(store->root, "networks", "fuzz.leases", NULL);
    g_assert_true(
        lodge_file_write(path, (const char *)data, size, 0644, LODGE_WRITE_NO_SYNC, NULL));
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) leases = lodge_network_leases(store, "fuzz", &error);
    g_assert_no_error(error);
    for (guint i = 0; i < leases->len; i++) {
        /* they are printed */
        const LodgeLease *lease = leases->pdata[i];
        const char *const texts[] = {lease->address, lease->mac, lease->name};
        for (gsize k = 0; k < G_N_ELEMENTS(texts); k++) {
            for (const char *c = texts[k]; *c != '\0'; c++) {
                g_assert_false(g_ascii_iscntrl(*c));
            }
        }
    }
}
