#include "config.h"

#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "top/print.h"
#include "top/sample.h"
#include "top/share.h"

static void
test_cpu_ticks(void)
{
    g_assert_cmpint(top_parse_cpu_ticks("12 (qemu) S 1 12 12 0 -1 4 1 2 3 4 150 50 0 0 20"), ==,
                    200);
    /* A name may hold brackets and blanks. */
    g_assert_cmpint(top_parse_cpu_ticks("12 (a ) S) S 1 12 12 0 -1 4 1 2 3 4 7 8 0 0 20"), ==, 15);
    g_assert_cmpint(top_parse_cpu_ticks("12 (qemu) S 1 12"), ==, -1);
    g_assert_cmpint(top_parse_cpu_ticks(""), ==, -1);
}

static void
test_words(void)
{
    static const struct {
        double value;
        const char *text;
    } sizes[] = {{-1, "–"},      {0, "0B"},         {999, "999B"},   {1000, "1.0K"},
                 {1536, "1.5K"}, {1048576, "1.0M"}, {2.5e9, "2.3G"}, {500.0 * 1048576, "500M"}};
    for (gsize i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autofree char *text = top_bytes_words(sizes[i].value);
        g_assert_cmpstr(text, ==, sizes[i].text);
    }
    g_autofree char *percent = top_percent_words(12.34);
    g_autofree char *large = top_percent_words(399.7);
    g_assert_cmpstr(percent, ==, "12.3");
    g_assert_cmpstr(large, ==, "400");
}

static void
test_sparkline(void)
{
    const double values[] = {0, 50, 100, 200, 1000};
    g_autofree char *text = top_sparkline(values, 5, 7, 200);
    g_autofree char *newest = top_sparkline(values, 5, 2, 200);
    g_assert_cmpstr(text, ==, "  ▁▃▅██");
    g_assert_cmpstr(newest, ==, "██");
}

static void
test_sort(void)
{
    LodgeGuestState state = {0};
    TopGuest guests[] = {
        {.name = (char *)"b", .state = &state, .cpu_percent = 5, .rss_bytes = 9},
        {.name = (char *)"a", .state = &state, .cpu_percent = 5, .rss_bytes = 1},
        {.name = (char *)"c", .state = &state, .cpu_percent = 90, .rss_bytes = -1},
    };
    static const struct {
        const char *key;
        gboolean reverse;
        const char *order;
    } cases[] = {{"cpu", FALSE, "cab"},
                 {"memory", FALSE, "bac"},
                 {"name", FALSE, "abc"},
                 {"name", TRUE, "cba"},
                 {"net", FALSE, "abc"}};
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GPtrArray) array = g_ptr_array_new();
        for (gsize k = 0; k < G_N_ELEMENTS(guests); k++) {
            g_ptr_array_add(array, &guests[k]);
        }
        g_assert_true(top_sort(array, cases[i].key, cases[i].reverse));
        for (gsize k = 0; k < array->len; k++) {
            g_assert_cmpint(((TopGuest *)array->pdata[k])->name[0], ==, cases[i].order[k]);
        }
    }
    g_autoptr(GPtrArray) none = g_ptr_array_new();
    g_assert_false(top_sort(none, "colour", FALSE));
}

static void
put(const char *folder, const char *path, const char *text)
{
    g_autofree char *full = g_build_filename(folder, path, NULL);
    g_autofree char *parent = g_path_get_dirname(full);
    g_assert_true(lodge_dir_make(parent, 0755, NULL));
    g_assert_true(lodge_file_write(full, text, strlen(text), 0644, LODGE_WRITE_NO_SYNC, NULL));
}

/* A store whose "QEMU" is this test: its own process is what is measured. */
static void
test_sample(void)
{
    g_autofree char *folder = g_dir_make_tmp("lodge-top-XXXXXX", NULL);
    g_setenv("LODGE_DIR", folder, TRUE);
    g_autoptr(GError) error = NULL;
    g_autoptr(LodgeStore) store = lodge_store_open(&error);
    g_autofree char *state = g_strdup_printf(
        "{\"state\":\"running\",\"pid\":%d,\"started_ms\":%" G_GINT64_FORMAT "}", (int)getpid(),
        g_get_real_time() / 1000 - 10000);
    g_autofree char *stats = g_strdup_printf(
        "{\"time_ms\":%" G_GINT64_FORMAT ",\"disks\":[{\"read_bytes\":1000,\"written_bytes\":10},"
        "{\"read_bytes\":500,\"written_bytes\":0}],\"balloon\":{\"actual_bytes\":536870912,"
        "\"total_bytes\":500,\"available_bytes\":300}}",
        g_get_real_time() / 1000);
    put(folder, "guests/web1/guest.conf", "[guest]\ncpus=3\nmemory=1G\n");
    put(folder, "guests/off/guest.conf", "[guest]\n");
    put(folder, "run/guests/web1/state.json", state);
    put(folder, "run/guests/web1/stats.json", stats);
    put(folder, "run/guests/web1/watch", "");
    g_autofree char *lock = g_build_filename(folder, "run/guests/web1/qemu.lock", NULL);
    lodge_autofd held = lodge_lock_take(lock, &error);
    g_assert_cmpint(held, >=, 0);
    g_assert_no_error(error);
    g_autoptr(TopSample) first = top_sample(store, NULL, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(first->guests->len, ==, 2);
    const TopGuest *off = first->guests->pdata[0];
    const TopGuest *web1 = first->guests->pdata[1];
    g_assert_cmpstr(off->name, ==, "off");
    g_assert_cmpfloat(off->cpu_percent, <, 0);
    g_assert_cmpuint(web1->cpus, ==, 3);
    g_assert_true(web1->state->has_qemu);
    g_assert_cmpint(web1->rss_bytes, >, 0);
    g_assert_cmpfloat(web1->cpu_percent, >=, 0);
    g_assert_true(web1->is_guest_io);
    g_assert_cmpint(web1->read_bytes, ==, 1500);
    g_assert_cmpint(web1->guest_used_bytes, ==, 200);
    g_assert_cmpuint(first->ballooned_bytes, ==, 512 << 20);
    const char *const only[] = {"off", NULL};
    g_autoptr(TopSample) second = top_sample(store, only, first, &error);
    g_assert_cmpuint(second->guests->len, ==, 1);
    g_autoptr(json_t) value = top_json(first);
    g_assert_cmpuint(json_array_size(json_object_get(value, "guests")), ==, 2);
    g_assert_true(json_is_null(
        json_object_get(json_array_get(json_object_get(value, "guests"), 0), "cpu_percent")));
    lodge_tree_remove(folder, NULL);
}

/* Process 7 is one whose memory nobody can look at: reading hangs until a byte comes. */
static int gate[2];

static gint64
read_gated(pid_t pid)
{
    char byte;
    return pid != 7 || read(gate[0], &byte, 1) == 1 ? pid * 10 : -1;
}

static void
test_share(void)
{
    g_assert_cmpint(pipe(gate), ==, 0);
    for (guint i = 0; i < 20; i++) {
        g_assert_cmpint(top_share_by(read_gated, 7, lodge_deadline_in(1)), ==, -1);
        g_assert_cmpint(top_share_by(read_gated, 8, lodge_deadline_in(30000)), ==, 80);
    }
    /* It goes on; what it said last stays, while it hangs again. */
    g_assert_cmpint(write(gate[1], "x", 1), ==, 1);
    gint64 said = -1;
    gint64 deadline = lodge_deadline_in(20000);
    while (said < 0 && !lodge_deadline_passed(deadline)) {
        said = top_share_by(read_gated, 7, lodge_deadline_in(10));
    }
    g_assert_cmpint(said, ==, 70);
    g_assert_cmpint(top_share_by(read_gated, 7, lodge_deadline_in(1)), ==, 70);
    g_assert_cmpint(top_share_bytes(getpid()), !=, 0);
    close(gate[1]); /* ends the reading */
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/top/cpu-ticks", test_cpu_ticks);
    g_test_add_func("/top/words", test_words);
    g_test_add_func("/top/sparkline", test_sparkline);
    g_test_add_func("/top/sort", test_sort);
    g_test_add_func("/top/sample", test_sample);
    g_test_add_func("/top/share", test_share);
    return g_test_run();
}
