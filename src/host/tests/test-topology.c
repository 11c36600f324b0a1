#include "config.h"

#include "base/base.h"
#include "host/topology.h"

static void
check_format(const char *text, const char *expected)
{
    g_autoptr(GArray) numbers = lodge_number_list_parse(text, 99, NULL);
    g_assert_nonnull(numbers);
    g_autofree char *back = lodge_number_list_format(numbers);
    g_assert_cmpstr(back, ==, expected);
}

static void
test_lists(void)
{
    static const char *const bad[] = {"",   ",",   "1,", "-1",  "3-1",
                                      "1-", "100", "a",  "1 2", "0-99999999"};
    check_format("0", "0");
    check_format("0-3,8", "0-3,8");
    check_format("0,1,2,5", "0-2,5");
    check_format("3,2,2", "3,2,2"); /* an order, and a number twice, mean something */
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_assert_null(lodge_number_list_parse(bad[i], 99, NULL));
    }
    g_assert_null(lodge_number_list_parse("0-2000", 5000, NULL));
}

static void
test_online(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *root = g_dir_make_tmp("lodge-topology-XXXXXX", NULL);
    g_autofree char *folder = g_build_filename(root, "sys/devices/system/cpu", NULL);
    g_autofree char *path = g_build_filename(folder, "online", NULL);
    g_assert_true(lodge_dir_make(folder, 0755, NULL));
    g_assert_true(g_file_set_contents(path, "0-2,4\n", -1, NULL));
    g_assert_true(lodge_topology_check(root, LODGE_TOPOLOGY_CPUS, "4,0-2", &error));
    g_assert_no_error(error);
    g_assert_false(lodge_topology_check(root, LODGE_TOPOLOGY_CPUS, "0-3", &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_UNSUPPORTED);
    g_assert_cmpstr(error->message, ==, "this host has CPUs 0-2,4, not 3");
    g_assert_true(lodge_topology_check(root, LODGE_TOPOLOGY_NODES, "0", NULL));
    g_assert_false(lodge_topology_check(root, LODGE_TOPOLOGY_NODES, "1", NULL));
    g_assert_true(lodge_tree_remove(root, NULL));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/host/topology/lists", test_lists);
    g_test_add_func("/host/topology/online", test_online);
    return g_test_run();
}
