#include "config.h"

#include "host/distro.h"

#include <string.h>

#include "base/base.h"

static char *folder;

/* What is read from an os-release with that text. */
static LodgeDistro
read_text(const char *text)
{
    LodgeDistro distro;
    g_autofree char *etc = g_build_filename(folder, "etc", NULL);
    g_autofree char *path = g_build_filename(etc, "os-release", NULL);
    g_assert_true(lodge_dir_make(etc, 0755, NULL));
    g_assert_true(lodge_file_write(path, text, strlen(text), 0644, LODGE_WRITE_NO_SYNC, NULL));
    lodge_distro_read(folder, &distro);
    return distro;
}

static void
test_packagers(void)
{
    static const struct {
        const char *text;
        const char *id;
        LodgePackager packager;
    } cases[] = {
        {"ID=debian\n", "debian", LODGE_PACKAGER_APT},
        {"ID=ubuntu\nID_LIKE=debian\n", "ubuntu", LODGE_PACKAGER_APT},
        {"ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", "linuxmint", LODGE_PACKAGER_APT},
        {"ID=fedora\n", "fedora", LODGE_PACKAGER_DNF},
        {"ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", "rocky", LODGE_PACKAGER_DNF},
        {"ID=arch\n", "arch", LODGE_PACKAGER_PACMAN},
        {"ID=endeavouros\nID_LIKE='arch'\n", "endeavouros", LODGE_PACKAGER_PACMAN},
        {"ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n", "opensuse-leap",
         LODGE_PACKAGER_ZYPPER},
        {"ID=opensuse-tumbleweed\n", "opensuse-tumbleweed", LODGE_PACKAGER_ZYPPER},
        {"# comment\n\nID=alpine\n", "alpine", LODGE_PACKAGER_APK},
        {"ID=gentoo\n", "gentoo", LODGE_PACKAGER_EMERGE},
        {"ID=nixos\n", "nixos", LODGE_PACKAGER_UNKNOWN},
        {"VERSION_ID=1\n", "linux", LODGE_PACKAGER_UNKNOWN},
        {"", "linux", LODGE_PACKAGER_UNKNOWN},
        {"ID=\"unclosed\nID_LIKE=-\n", "\"unclosed", LODGE_PACKAGER_UNKNOWN},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        LodgeDistro distro = read_text(cases[i].text);
        g_assert_cmpstr(distro.id, ==, cases[i].id);
        g_assert_cmpint(distro.packager, ==, cases[i].packager);
    }
}

static void
test_install(void)
{
    static const struct {
        const char *text;
        LodgeNeed need;
        const char *command;
    } cases[] = {
        {"ID=debian\n", LODGE_NEED_QEMU, "sudo apt install qemu-system-x86"},
        {"ID=fedora\n", LODGE_NEED_QEMU_IMG, "sudo dnf install qemu-img"},
        {"ID=arch\n", LODGE_NEED_OVMF, "sudo pacman -S edk2-ovmf"},
        {"ID=opensuse-leap\n", LODGE_NEED_SSH, "sudo zypper install openssh-clients"},
        {"ID=alpine\n", LODGE_NEED_SWTPM, "doas apk add swtpm"},
        {"ID=gentoo\n", LODGE_NEED_NFTABLES, "sudo emerge net-firewall/nftables"},
        {"ID=arch\nPRETTY_NAME=\"Arch Linux\"\n", LODGE_NEED_MMDEBSTRAP,
         "install mmdebstrap: Arch Linux has no package of it"},
        {"ID=fedora\n", LODGE_NEED_NAT64, "sudo dnf install tayga unbound"},
        {"ID=nixos\n", LODGE_NEED_DNSMASQ,
         "install dnsmasq with this distribution's package manager"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        LodgeDistro distro = read_text(cases[i].text);
        g_autofree char *command = lodge_distro_install(&distro, cases[i].need);
        g_assert_cmpstr(command, ==, cases[i].command);
    }
}

static void
test_every_need_has_words(void)
{
    for (int p = LODGE_PACKAGER_UNKNOWN; p <= LODGE_PACKAGER_EMERGE; p++) {
        LodgeDistro distro = {.id = "x", .name = "X", .packager = (LodgePackager)p};
        for (int need = LODGE_NEED_QEMU; need <= LODGE_NEED_SUBID; need++) {
            g_autofree char *command = lodge_distro_install(&distro, (LodgeNeed)need);
            g_assert_cmpuint(strlen(command), >, 10);
        }
        g_autofree char *argument = lodge_distro_kernel_argument(&distro, "intel_iommu=on");
        g_assert_nonnull(strstr(argument, "intel_iommu=on"));
        g_autofree char *kernel = lodge_distro_kernel_with(&distro, "TUN");
        g_assert_nonnull(strstr(kernel, "CONFIG_TUN"));
    }
}

static void
test_names_are_safe_to_print(void)
{
    LodgeDistro distro = read_text("ID=x\nPRETTY_NAME=\"evil \033[31m\"\n");
    g_assert_null(strchr(distro.name, '\033'));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    folder = g_dir_make_tmp("lodge-test-XXXXXX", NULL);
    g_test_add_func("/host/distro/packagers", test_packagers);
    g_test_add_func("/host/distro/install", test_install);
    g_test_add_func("/host/distro/every-need", test_every_need_has_words);
    g_test_add_func("/host/distro/printable", test_names_are_safe_to_print);
    int status = g_test_run();
    lodge_tree_remove(folder, NULL);
    g_free(folder);
    return status;
}
