#include "config.h"

#include "host/distro.h"

#include <string.h>

#include "base/base.h"
#include "host/system.h"

/* Column order of the tables below: as in LodgePackager. */
enum { PACKAGERS = LODGE_PACKAGER_EMERGE + 1 };

static const struct {
    const char *install;  /* the command before the packages */
    const char *program;  /* where an unknown distribution shows that it uses this one */
    const char *ids;      /* os-release's ID or ID_LIKE */
    const char *kernel;   /* its kernel with all modules; NULL: built by the user */
    const char *argument; /* how its boot loader is given %s */
} packagers[PACKAGERS] = {
    [LODGE_PACKAGER_UNKNOWN] = {NULL, NULL, "", NULL,
                                "add %s to the kernel's command line, and reboot"},
    [LODGE_PACKAGER_APT] = {"sudo apt install", "/usr/bin/apt-get", "debian ubuntu devuan",
                            "linux-image-amd64",
                            "add %s to GRUB_CMDLINE_LINUX in /etc/default/grub, run sudo "
                            "update-grub, and reboot"},
    [LODGE_PACKAGER_DNF] = {"sudo dnf install", "/usr/bin/dnf", "fedora rhel centos",
                            "kernel-modules",
                            "sudo grubby --update-kernel=ALL --args=%s, and reboot"},
    [LODGE_PACKAGER_PACMAN] = {"sudo pacman -S", "/usr/bin/pacman", "arch archlinux artix", "linux",
                               "add %s to GRUB_CMDLINE_LINUX in /etc/default/grub, run sudo "
                               "grub-mkconfig -o /boot/grub/grub.cfg, and reboot"},
    [LODGE_PACKAGER_ZYPPER] = {"sudo zypper install", "/usr/bin/zypper", "suse opensuse sles",
                               "kernel-default",
                               "add %s to GRUB_CMDLINE_LINUX in /etc/default/grub, run sudo "
                               "grub2-mkconfig -o /boot/grub2/grub.cfg, and reboot"},
    [LODGE_PACKAGER_APK] = {"doas apk add", "/sbin/apk", "alpine", "linux-lts",
                            "add %s to default_kernel_opts in /etc/update-extlinux.conf, run doas "
                            "update-extlinux, and reboot"},
    [LODGE_PACKAGER_EMERGE] = {"sudo emerge", "/usr/bin/emerge", "gentoo", NULL,
                               "add %s to GRUB_CMDLINE_LINUX in /etc/default/grub, run sudo "
                               "grub-mkconfig -o /boot/grub/grub.cfg, and reboot"},
};

/* NULL: not packaged there. */
static const struct {
    const char *title;
    const char *packages[PACKAGERS];
} needs[] = {
    [LODGE_NEED_QEMU] = {"QEMU for x86_64",
                         {NULL, "qemu-system-x86", "qemu-kvm", "qemu-base", "qemu-x86",
                          "qemu-system-x86_64", "app-emulation/qemu"}},
    [LODGE_NEED_QEMU_IMG] = {"qemu-img",
                             {NULL, "qemu-utils", "qemu-img", "qemu-img", "qemu-tools", "qemu-img",
                              "app-emulation/qemu"}},
    [LODGE_NEED_DNSMASQ] = {"dnsmasq",
                            {NULL, "dnsmasq-base", "dnsmasq", "dnsmasq", "dnsmasq", "dnsmasq",
                             "net-dns/dnsmasq"}},
    [LODGE_NEED_NAT64] = {"tayga and unbound",
                          {NULL, "tayga unbound", "tayga unbound", NULL, NULL, NULL,
                           "net-proxy/tayga net-dns/unbound"}},
    [LODGE_NEED_PASST] = {"passt",
                          {NULL, "passt", "passt", "passt", "passt", "passt", "net-misc/passt"}},
    [LODGE_NEED_OVMF] = {"OVMF (UEFI firmware)",
                         {NULL, "ovmf", "edk2-ovmf", "edk2-ovmf", "qemu-ovmf-x86_64", "ovmf",
                          "sys-firmware/edk2-bin"}},
    [LODGE_NEED_SWTPM] = {"swtpm",
                          {NULL, "swtpm", "swtpm", "swtpm", "swtpm", "swtpm", "app-crypt/swtpm"}},
    [LODGE_NEED_SSH] = {"the OpenSSH client",
                        {NULL, "openssh-client", "openssh-clients", "openssh", "openssh-clients",
                         "openssh-client", "net-misc/openssh"}},
    [LODGE_NEED_NFTABLES] = {"nftables",
                             {NULL, "nftables", "nftables", "nftables", "nftables", "nftables",
                              "net-firewall/nftables"}},
    [LODGE_NEED_MMDEBSTRAP] = {"mmdebstrap",
                               {NULL, "mmdebstrap uidmap debian-archive-keyring",
                                "mmdebstrap debian-keyring", NULL, NULL, NULL, NULL}},
    [LODGE_NEED_SUBID] = {"newuidmap",
                          {NULL, "uidmap", "shadow-utils", "shadow", "shadow", "shadow-subids",
                           "sys-apps/shadow"}},
};

/* The value of KEY=value or KEY="value"; free with g_free; NULL. */
static char *
assigned(const char *text, const char *key)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    gsize length = strlen(key);
    for (gsize i = 0; lines[i] != NULL; i++) {
        const char *line = g_strstrip(lines[i]);
        if (strncmp(line, key, length) == 0 && line[length] == '=') {
            char *value = g_shell_unquote(line + length + 1, NULL);
            return value != NULL ? value : g_strdup(line + length + 1);
        }
    }
    return NULL;
}

static LodgePackager
packager_of(const char *ids)
{
    g_auto(GStrv) words = g_strsplit_set(ids, " \t", -1);
    for (gsize i = 0; words[i] != NULL; i++) {
        /* openSUSE's are opensuse-leap, opensuse-tumbleweed … */
        words[i][strcspn(words[i], "-")] = '\0';
        for (gsize p = LODGE_PACKAGER_APT; *words[i] != '\0' && p < PACKAGERS; p++) {
            if (lodge_system_has_word(packagers[p].ids, words[i])) {
                return (LodgePackager)p;
            }
        }
    }
    return LODGE_PACKAGER_UNKNOWN;
}

void
lodge_distro_read(const char *sysroot, LodgeDistro *out)
{
    g_autofree char *text = lodge_system_read(sysroot, "/etc/os-release");
    if (text == NULL) {
        text = lodge_system_text(sysroot, "/usr/lib/os-release");
    }
    g_autofree char *id = assigned(text, "ID");
    g_autofree char *like = assigned(text, "ID_LIKE");
    g_autofree char *name = assigned(text, "PRETTY_NAME");
    g_autofree char *shown = lodge_text_printable(name != NULL ? name : "Linux");
    *out = (LodgeDistro){0};
    g_strlcpy(out->id, id != NULL ? id : "linux", sizeof out->id);
    g_strlcpy(out->name, shown, sizeof out->name);
    g_autofree char *ids = g_strconcat(out->id, " ", like, NULL);
    out->packager = packager_of(ids);
    for (gsize p = LODGE_PACKAGER_APT; out->packager == LODGE_PACKAGER_UNKNOWN && p < PACKAGERS;
         p++) {
        if (lodge_system_exists(sysroot, packagers[p].program)) {
            out->packager = (LodgePackager)p;
        }
    }
}

char *
lodge_distro_install(const LodgeDistro *distro, LodgeNeed need)
{
    const char *packages = needs[need].packages[distro->packager];
    if (packages != NULL) {
        return g_strdup_printf("%s %s", packagers[distro->packager].install, packages);
    }
    if (distro->packager == LODGE_PACKAGER_UNKNOWN) {
        return g_strdup_printf("install %s with this distribution's package manager",
                               needs[need].title);
    }
    return g_strdup_printf("install %s: %s has no package of it", needs[need].title, distro->name);
}

const char *
lodge_distro_become_root(const LodgeDistro *distro)
{
    return distro->packager == LODGE_PACKAGER_APK ? "doas" : "sudo";
}

char *
lodge_distro_kernel_argument(const LodgeDistro *distro, const char *argument)
{
    g_auto(GStrv) parts = g_strsplit(packagers[distro->packager].argument, "%s", 2);
    return g_strjoinv(argument, parts);
}

char *
lodge_distro_kernel_with(const LodgeDistro *distro, const char *option)
{
    const char *kernel = packagers[distro->packager].kernel;
    if (strcmp(distro->id, "ubuntu") == 0) {
        kernel = "linux-generic";
    }
    if (kernel == NULL) {
        return g_strdup_printf(
            "build a kernel with CONFIG_%s, install its modules, and reboot into it", option);
    }
    return g_strdup_printf("boot a kernel with CONFIG_%s (%s %s)", option,
                           packagers[distro->packager].install, kernel);
}
