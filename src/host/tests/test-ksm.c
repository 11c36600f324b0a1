#include "config.h"

#include "host/ksm.h"

#include <string.h>

#include "base/base.h"

#define GIB (G_GUINT64_CONSTANT(1) << 30)

static char *folder;

static void
put(const char *path, const char *text)
{
    g_autofree char *full = g_build_filename(folder, path, NULL);
    g_autofree char *parent = g_path_get_dirname(full);
    g_assert_true(lodge_dir_make(parent, 0755, NULL));
    g_assert_true(lodge_file_write(full, text, strlen(text), 0644, LODGE_WRITE_NO_SYNC, NULL));
}

static void
test_decide(void)
{
    static const struct {
        guint64 available_gib;
        double pressure;
        guint guests;
        gboolean running, shall;
    } cases[] = {
        {90, 0, 10, FALSE, FALSE}, {19, 0, 10, FALSE, TRUE},  {19, 0, 1, FALSE, FALSE},
        {25, 0, 10, FALSE, FALSE}, {25, 0, 10, TRUE, TRUE}, /* no flutter */
        {40, 0, 10, TRUE, FALSE},  {90, 7.5, 2, FALSE, TRUE}, {90, -1, 2, FALSE, FALSE},
        {10, -1, 2, FALSE, TRUE},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        LodgeMemory memory = {100 * GIB, cases[i].available_gib * GIB, cases[i].pressure};
        g_assert_cmpint(lodge_ksm_decide(&memory, cases[i].guests, cases[i].running), ==,
                        cases[i].shall);
    }
    LodgeMemory unknown = {0, 0, -1};
    g_assert_false(lodge_ksm_decide(&unknown, 10, TRUE));
}

static void
test_memory(void)
{
    LodgeMemory memory;
    put("proc/meminfo", "MemTotal:  1000 kB\nMemFree: 10 kB\nMemAvailable:   400 kB\n");
    lodge_memory_read(folder, &memory);
    g_assert_cmpuint(memory.total_bytes, ==, 1024000);
    g_assert_cmpuint(memory.available_bytes, ==, 409600);
    g_assert_cmpfloat(memory.pressure, ==, -1);
    put("proc/pressure/memory",
        "some avg10=3.25 avg60=0.00 avg300=0.00 total=1\nfull avg10=1.00\n");
    lodge_memory_read(folder, &memory);
    g_assert_cmpfloat(memory.pressure, ==, 3.25);
}

static void
assert_number(const char *path, const char *text)
{
    g_autofree char *full = g_build_filename(folder, path, NULL);
    g_autofree char *found = lodge_file_read(full, 4096, NULL, NULL);
    g_assert_cmpstr(g_strchomp(found), ==, text);
}

#define KSM "sys/kernel/mm/ksm/"

static void
test_set(void)
{
    g_autoptr(GError) error = NULL;
    LodgeKsm ksm;
    g_assert_false(lodge_ksm_set(folder, folder, LODGE_KSM_ON, 5, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_UNSUPPORTED);
    g_clear_error(&error);
    put(KSM "run", "0\n");
    put(KSM "pages_to_scan", "100\n");
    put(KSM "pages_shared", "10\n");
    put(KSM "pages_sharing", "50\n");
    lodge_ksm_read(folder, &ksm);
    g_assert_true(ksm.available && !ksm.running);
    g_assert_cmpuint(ksm.saved_bytes, ==, 50 * 4096);
    g_assert_true(lodge_ksm_set(folder, folder, LODGE_KSM_ON, 5, &error));
    g_assert_no_error(error);
    assert_number(KSM "run", "1");
    assert_number(KSM "pages_to_scan", "1000");
    g_assert_cmpint(lodge_ksm_mode(folder), ==, LODGE_KSM_ON);
    /* auto on a host with memory: it stops, and the speed of before is back. */
    put("proc/meminfo", "MemTotal:  1000 kB\nMemAvailable:   900 kB\n");
    put("proc/pressure/memory", "some avg10=0.00 avg60=0.00\n");
    g_assert_true(lodge_ksm_set(folder, folder, LODGE_KSM_AUTO, 5, &error));
    assert_number(KSM "run", "0");
    assert_number(KSM "pages_to_scan", "100");
    put("proc/meminfo", "MemTotal:  1000 kB\nMemAvailable:   90 kB\n");
    lodge_ksm_review(folder, folder, 5);
    assert_number(KSM "run", "1");
    g_assert_true(lodge_ksm_set(folder, folder, LODGE_KSM_OFF, 5, &error));
    assert_number(KSM "run", "0");
    assert_number(KSM "pages_to_scan", "100");
    lodge_ksm_review(folder, folder, 5);
    assert_number(KSM "run", "0");
    g_assert_cmpint(lodge_ksm_mode(folder), ==, LODGE_KSM_OFF);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    folder = g_dir_make_tmp("lodge-ksm-XXXXXX", NULL);
    g_test_add_func("/host/ksm/decide", test_decide);
    g_test_add_func("/host/ksm/memory", test_memory);
    g_test_add_func("/host/ksm/set", test_set);
    int status = g_test_run();
    lodge_tree_remove(folder, NULL);
    g_free(folder);
    return status;
}
