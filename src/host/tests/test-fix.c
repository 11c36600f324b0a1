#include "config.h"

#include "host/host.h"

#include <string.h>
#include <sys/stat.h>

#include "base/base.h"

static char *root;
static GString *loaded;

static void
put(const char *path, const char *text)
{
    g_autofree char *full = g_strconcat(root, path, NULL);
    g_autofree char *parent = g_path_get_dirname(full);
    g_assert_true(lodge_dir_make(parent, 0755, NULL));
    g_assert_true(lodge_file_write(full, text, strlen(text), 0640, LODGE_WRITE_NO_SYNC, NULL));
}

static char *
get(const char *path)
{
    g_autofree char *full = g_strconcat(root, path, NULL);
    return lodge_file_read(full, 4096, NULL, NULL);
}

/* Does what modprobe does to /sys; fails for what its data names. */
static gboolean
fake_modprobe(const char *module, gpointer data, GError **error)
{
    g_string_append_printf(loaded, "%s ", module);
    if (g_strcmp0(module, data) == 0) {
        return lodge_error_set(error, LODGE_ERROR_FAILED, "Operation not supported");
    }
    g_autofree char *count = g_strdup_printf("/sys/module/%s/refcnt", module);
    put(count, "0\n");
    return TRUE;
}

static void
start_machine(void)
{
    root = g_dir_make_tmp("lodge-test-XXXXXX", NULL);
    loaded = g_string_new(NULL);
    put("/proc/sys/kernel/osrelease", "6.6\n");
    put("/proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu vmx\n");
    put("/lib/modules/6.6/modules.dep",
        "kernel/kvm-intel.ko:\nkernel/kvm-amd.ko:\nkernel/tun.ko:\nkernel/vhost_net.ko:\n");
    put("/lib/modules/6.6/modules.builtin", "kernel/vhost_vsock.ko\n");
    put("/dev/net/tun", "");
}

static void
end_machine(void)
{
    lodge_tree_remove(root, NULL);
    g_free(root);
    g_string_free(loaded, TRUE);
}

static void
test_plan_and_apply(void)
{
    start_machine();
    g_autoptr(GPtrArray) plan = lodge_host_fix_plan(root);
    g_assert_cmpuint(plan->len, ==, 4);
    const LodgeFixStep *first = plan->pdata[0];
    g_assert_cmpint(first->kind, ==, LODGE_FIX_LOAD_MODULE);
    g_assert_cmpstr(first->module, ==, "kvm_intel");
    for (guint i = 0; i < plan->len; i++) {
        const LodgeFixStep *step = plan->pdata[i];
        g_assert_cmpint(step->kind == LODGE_FIX_ADD_LINE, ==, step->path != NULL);
        g_assert_nonnull(strstr(step->sentence, step->module));
    }
    g_autoptr(GError) error = NULL;
    g_assert_true(lodge_host_fix_apply(root, plan, fake_modprobe, NULL, &error));
    g_assert_no_error(error);
    g_assert_cmpstr(loaded->str, ==, "kvm_intel vhost_net ");
    g_autofree char *text = get("/etc/modules-load.d/lodge.conf");
    g_assert_cmpstr(text, ==, "# Written by “lodge check --fix”.\nkvm_intel\nvhost_net\n");

    g_autoptr(GPtrArray) second = lodge_host_fix_plan(root);
    g_assert_cmpuint(second->len, ==, 0);
    /* The same plan again changes nothing. */
    g_assert_true(lodge_host_fix_apply(root, plan, fake_modprobe, NULL, NULL));
    g_autofree char *same = get("/etc/modules-load.d/lodge.conf");
    g_assert_cmpstr(same, ==, text);
    end_machine();
}

static void
test_foreign_lines_and_modes_stay(void)
{
    start_machine();
    put("/etc/modules-load.d/lodge.conf", "# mine\nnbd\n\nkvm_intel");
    put("/etc/conf.d/modules", "modules=\"loop\"\n");
    g_autoptr(GPtrArray) plan = lodge_host_fix_plan(root);
    g_assert_true(lodge_host_fix_apply(root, plan, fake_modprobe, NULL, NULL));
    g_autofree char *text = get("/etc/modules-load.d/lodge.conf");
    g_assert_cmpstr(text, ==, "# mine\nnbd\n\nkvm_intel\nvhost_net\n");
    g_autofree char *openrc = get("/etc/conf.d/modules");
    g_assert_cmpstr(openrc, ==,
                    "modules=\"loop\"\nmodules=\"${modules} kvm_intel\"\n"
                    "modules=\"${modules} vhost_net\"\n");
    g_autofree char *path = g_strconcat(root, "/etc/conf.d/modules", NULL);
    struct stat info;
    g_assert_cmpint(stat(path, &info), ==, 0);
    g_assert_cmpint(info.st_mode & 0777, ==, 0640);
    end_machine();
}

static void
test_failed_module_gets_no_line(void)
{
    start_machine();
    g_autoptr(GPtrArray) plan = lodge_host_fix_plan(root);
    g_autoptr(GError) error = NULL;
    char broken[] = "kvm_intel";
    g_assert_false(lodge_host_fix_apply(root, plan, fake_modprobe, broken, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_FAILED);
    g_assert_cmpstr(error->message, ==, "loading kvm_intel: Operation not supported");
    g_autofree char *text = get("/etc/modules-load.d/lodge.conf");
    g_assert_cmpstr(text, ==, "# Written by “lodge check --fix”.\nvhost_net\n");
    g_autoptr(GPtrArray) again = lodge_host_fix_plan(root);
    g_assert_cmpuint(again->len, ==, 2);
    end_machine();
}

static void
test_nested(void)
{
    start_machine();
    put("/dev/kvm", "");
    put("/dev/vhost-net", "");
    put("/sys/module/kvm_intel/refcnt", "0\n");
    put("/sys/module/kvm_intel/parameters/nested", "N\n");
    put("/etc/modprobe.d/lodge.conf", "options kvm_intel ept=1\n");
    g_autofree char *obstacle = lodge_nested_obstacle(root);
    g_assert_nonnull(strstr(obstacle, "kvm_intel was loaded with nested=N"));
    g_autoptr(GPtrArray) plan = lodge_host_fix_plan(root);
    g_assert_cmpuint(plan->len, ==, 1);
    g_assert_true(lodge_host_fix_apply(root, plan, fake_modprobe, NULL, NULL));
    g_autofree char *text = get("/etc/modprobe.d/lodge.conf");
    g_assert_cmpstr(text, ==, "options kvm_intel ept=1\noptions kvm_intel nested=1\n");
    g_autoptr(GPtrArray) second = lodge_host_fix_plan(root);
    g_assert_cmpuint(second->len, ==, 0);
    g_assert_cmpstr(loaded->str, ==, "");
    put("/sys/module/kvm_intel/parameters/nested", "Y\n");
    g_assert_null(lodge_nested_obstacle(root));
    end_machine();
}

static void
test_container_plans_nothing(void)
{
    start_machine();
    put("/.dockerenv", "");
    g_autoptr(GPtrArray) plan = lodge_host_fix_plan(root);
    g_assert_cmpuint(plan->len, ==, 0);
    end_machine();
}

static void
test_unwritable(void)
{
    start_machine();
    put("/etc/modules-load.d", "a file where a folder should be");
    g_autoptr(GPtrArray) plan = lodge_host_fix_plan(root);
    g_autoptr(GError) error = NULL;
    g_assert_false(lodge_host_fix_apply(root, plan, fake_modprobe, NULL, &error));
    g_assert_nonnull(error);
    g_assert_cmpstr(loaded->str, ==, "kvm_intel vhost_net ");
    end_machine();
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/host/fix/plan-and-apply", test_plan_and_apply);
    g_test_add_func("/host/fix/foreign-lines", test_foreign_lines_and_modes_stay);
    g_test_add_func("/host/fix/failed-module", test_failed_module_gets_no_line);
    g_test_add_func("/host/fix/nested", test_nested);
    g_test_add_func("/host/fix/container", test_container_plans_nothing);
    g_test_add_func("/host/fix/unwritable", test_unwritable);
    return g_test_run();
}
