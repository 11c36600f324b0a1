#include "config.h"

#include "host/system.h"

#include <string.h>
#include <unistd.h>

#include "base/base.h"

static char *root;

static void
put(const char *path, const char *text)
{
    g_autofree char *full = g_strconcat(root, path, NULL);
    g_autofree char *parent = g_path_get_dirname(full);
    g_assert_true(lodge_dir_make(parent, 0755, NULL));
    g_assert_true(lodge_file_write(full, text, strlen(text), 0644, LODGE_WRITE_NO_SYNC, NULL));
}

static LodgeModuleState
state_of(const char *release, const char *module, const char *option)
{
    g_autoptr(LodgeKernel) kernel = lodge_kernel_new(root, release);
    return lodge_kernel_module(kernel, module, option);
}

static void
test_states(void)
{
    put("/lib/modules/6.1/modules.dep",
        "kernel/drivers/net/tun.ko:\nkernel/arch/x86/kvm/kvm-intel.ko.zst: a b\n"
        "kernel/net/vmw-vsock/vhost_vsock_extra.ko:\n");
    put("/lib/modules/6.1/modules.builtin", "kernel/net/bridge/bridge.ko\n");
    put("/boot/config-6.1", "#\nCONFIG_VHOST_NET=m\nCONFIG_NF_TABLES=y\n# CONFIG_KSM is not set\n");
    put("/proc/modules", "loop 1 0 - Live 0x0\nnft_masq 1 0 - Live 0x0\n");
    put("/sys/module/8021q/refcnt", "0\n");
    put("/sys/module/vsock/parameters/x", "0\n");
    static const struct {
        const char *module;
        const char *option;
        LodgeModuleState state;
    } cases[] = {
        {"tun", "TUN", LODGE_MODULE_LOADABLE},
        {"kvm_intel", "KVM_INTEL", LODGE_MODULE_LOADABLE},
        {"kvm-intel", NULL, LODGE_MODULE_LOADABLE},
        {"bridge", "BRIDGE", LODGE_MODULE_BUILTIN},
        {"nf_tables", "NF_TABLES", LODGE_MODULE_BUILTIN},
        {"vsock", "VSOCKETS", LODGE_MODULE_BUILTIN},
        {"8021q", "VLAN_8021Q", LODGE_MODULE_LOADED},
        {"loop", "BLK_DEV_LOOP", LODGE_MODULE_LOADED},
        {"nft_masq", "NFT_MASQ", LODGE_MODULE_LOADED},
        {"vhost_net", "VHOST_NET", LODGE_MODULE_NOT_INSTALLED},
        {"vhost_vsock", "VHOST_VSOCK", LODGE_MODULE_NOT_BUILT},
        {"ksm", "KSM", LODGE_MODULE_NOT_BUILT},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_assert_cmpint(state_of("6.1", cases[i].module, cases[i].option), ==, cases[i].state);
    }
}

static void
test_nothing_tells(void)
{
    g_assert_cmpint(state_of("9.9", "tun", "TUN"), ==, LODGE_MODULE_UNKNOWN);
    put("/lib/modules/8.8/modules.dep", "");
    g_assert_cmpint(state_of("8.8", "tun", "TUN"), ==, LODGE_MODULE_NOT_BUILT);
}

static void
test_garbage(void)
{
    put("/lib/modules/7.7/modules.dep", "\n:\n/\n////.ko\nkernel/tun\n.ko:\n\xff\xfe\n");
    put("/lib/modules/7.7/modules.builtin", "no newline");
    put("/proc/config.gz", "this is not packed\nCONFIG_TUN=");
    g_assert_cmpint(state_of("7.7", "vhost_net", "VHOST_NET"), ==, LODGE_MODULE_NOT_BUILT);
    /* An option without a value is none. */
    g_assert_cmpint(state_of("7.7", "tap", "TUN"), ==, LODGE_MODULE_NOT_BUILT);
}

static void
test_fields(void)
{
    static const char text[] = "flags2: x\nflags\t\t: a vmx b\nempty:\nlast: 1";
    g_autofree char *flags = lodge_system_field(text, "flags");
    g_assert_cmpstr(flags, ==, "a vmx b");
    g_autofree char *empty = lodge_system_field(text, "empty");
    g_assert_cmpstr(empty, ==, "");
    g_autofree char *last = lodge_system_field(text, "last");
    g_assert_cmpstr(last, ==, "1");
    g_assert_null(lodge_system_field(text, "fla"));
    g_assert_null(lodge_system_field("", "x"));
    g_assert_true(lodge_system_has_word(flags, "vmx"));
    g_assert_true(lodge_system_has_word(flags, "b"));
    g_assert_false(lodge_system_has_word(flags, "vm"));
    g_assert_false(lodge_system_has_word("svmx xvmx", "vmx"));
    g_assert_false(lodge_system_has_word(NULL, "vmx"));
}

static void
test_container(void)
{
    g_assert_null(lodge_system_container(root));
    put("/.dockerenv", "");
    g_autofree char *docker = lodge_system_container(root);
    g_assert_cmpstr(docker, ==, "docker");
    put("/run/systemd/container", "lxc\n");
    g_autofree char *lxc = lodge_system_container(root);
    g_assert_cmpstr(lxc, ==, "lxc");
    put("/proc/self/ns/x", "");
    g_autofree char *space = g_strconcat(root, "/proc/self/ns/pid", NULL);
    g_assert_cmpint(symlink("pid:[4026531836]", space), ==, 0);
    g_assert_null(lodge_system_container(root));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    root = g_dir_make_tmp("lodge-test-XXXXXX", NULL);
    g_test_add_func("/host/kernel/states", test_states);
    g_test_add_func("/host/kernel/nothing-tells", test_nothing_tells);
    g_test_add_func("/host/kernel/garbage", test_garbage);
    g_test_add_func("/host/system/fields", test_fields);
    g_test_add_func("/host/system/container", test_container);
    int status = g_test_run();
    lodge_tree_remove(root, NULL);
    g_free(root);
    return status;
}
