/* Which distribution this is, and what it calls the things Lodge needs. */
#pragma once

#include <glib.h>

/* What a distribution packages under a name of its own. */
typedef enum {
    LODGE_NEED_QEMU,
    LODGE_NEED_QEMU_IMG,
    LODGE_NEED_DNSMASQ,
    LODGE_NEED_NAT64, /* tayga and unbound */
    LODGE_NEED_PASST,
    LODGE_NEED_OVMF,
    LODGE_NEED_SWTPM,
    LODGE_NEED_SSH,
    LODGE_NEED_NFTABLES,
    LODGE_NEED_MMDEBSTRAP, /* and what it needs to build Debian images */
    LODGE_NEED_SUBID,      /* newuidmap */
} LodgeNeed;

typedef enum {
    LODGE_PACKAGER_UNKNOWN,
    LODGE_PACKAGER_APT,
    LODGE_PACKAGER_DNF,
    LODGE_PACKAGER_PACMAN,
    LODGE_PACKAGER_ZYPPER,
    LODGE_PACKAGER_APK,
    LODGE_PACKAGER_EMERGE,
} LodgePackager;

typedef struct {
    char id[32];    /* os-release's ID: "debian"; "linux" if there is none */
    char name[128]; /* os-release's PRETTY_NAME */
    LodgePackager packager;
} LodgeDistro;

/* Which distribution is it? Reads os-release below @sysroot; never fails. */
void lodge_distro_read(const char *sysroot, LodgeDistro *out);

/* The command that installs it, "sudo apt install qemu-utils", or words where the distribution has
 * no package or isn't known. Free with g_free. */
char *lodge_distro_install(const LodgeDistro *distro, LodgeNeed need);

/* The program that becomes root there: "sudo" or "doas". */
const char *lodge_distro_become_root(const LodgeDistro *distro);

/* How to add @argument to the kernel's command line there, in words. Free with g_free. */
char *lodge_distro_kernel_argument(const LodgeDistro *distro, const char *argument);

/* How to get a kernel that has CONFIG_@option, in words. Free with g_free. */
char *lodge_distro_kernel_with(const LodgeDistro *distro, const char *option);
