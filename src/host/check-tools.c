/* Checks of the programs and files that packages bring. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "host/check.h"
#include "host/passt.h"

/* The path as on the machine itself. */
static const char *
without_sysroot(const LodgeExamined *examined, const char *path)
{
    return path + strlen(examined->sysroot);
}

static void
check_program(const LodgeExamined *examined, const char *name, LodgeNeed need, const char *cost,
              LodgeCheck *check)
{
    g_autofree char *path = lodge_system_program(examined->sysroot, name);
    if (path != NULL) {
        lodge_check_found(check, "%s", without_sysroot(examined, path));
        return;
    }
    lodge_check_found(check, "no program %s", name);
    lodge_check_gap(check, LODGE_CHECK_MISSING, cost,
                    lodge_distro_install(&examined->distro, need));
}

void
lodge_check_qemu(const LodgeExamined *examined, LodgeCheck *check)
{
    static const char cost[] = "no guest runs";
    if (examined->qemu_path == NULL) {
        lodge_check_found(check, "no program qemu-system-x86_64");
    } else if (examined->qemu_version == NULL) {
        lodge_check_found(check, "%s does not say its version",
                          without_sysroot(examined, examined->qemu_path));
    } else {
        lodge_check_found(check, "%s (%s)", examined->qemu_version,
                          without_sysroot(examined, examined->qemu_path));
        if (lodge_qemu_is_at_least(examined->qemu_version, LODGE_QEMU_LEAST)) {
            return;
        }
        lodge_check_gap(check, LODGE_CHECK_MISSING,
                        "no guest runs: Lodge needs QEMU " LODGE_QEMU_LEAST " or later",
                        g_strdup("upgrade QEMU, or the distribution"));
        return;
    }
    lodge_check_gap(check, LODGE_CHECK_MISSING, cost,
                    lodge_distro_install(&examined->distro, LODGE_NEED_QEMU));
}

void
lodge_check_qemu_img(const LodgeExamined *examined, LodgeCheck *check)
{
    check_program(examined, "qemu-img", LODGE_NEED_QEMU_IMG,
                  "no disk can be made, so no guest be created", check);
}

void
lodge_check_dnsmasq(const LodgeExamined *examined, LodgeCheck *check)
{
    check_program(examined, "dnsmasq", LODGE_NEED_DNSMASQ,
                  "no DHCP and no names on Lodge's own networks", check);
}

void
lodge_check_nat64(const LodgeExamined *examined, LodgeCheck *check)
{
    g_autofree char *tayga = lodge_system_program(examined->sysroot, "tayga");
    g_autofree char *unbound = lodge_system_program(examined->sysroot, "unbound");
    if (tayga != NULL && unbound != NULL) {
        lodge_check_found(check, "%s, %s", without_sysroot(examined, tayga),
                          without_sysroot(examined, unbound));
        return;
    }
    lodge_check_found(check, "no program %s",
                      tayga != NULL     ? "unbound"
                      : unbound != NULL ? "tayga"
                                        : "tayga, no program unbound");
    lodge_check_gap(check, LODGE_CHECK_MISSING,
                    "guests with IPv6 alone don't reach IPv4 (nat64=yes of a network)",
                    lodge_distro_install(&examined->distro, LODGE_NEED_NAT64));
}

void
lodge_check_passt(const LodgeExamined *examined, LodgeCheck *check)
{
    static const char cost[] = "guests on `user` have QEMU's own network: they reach what listens "
                               "on this host's loopback address";
    g_autofree char *path = lodge_system_program(examined->sysroot, "passt");
    guint date = path != NULL ? lodge_passt_date_of(path) : 0;
    if (path == NULL) {
        lodge_check_found(check, "no program passt");
    } else if (date == 0) {
        lodge_check_found(check, "%s does not say of when it is", without_sysroot(examined, path));
    } else {
        lodge_check_found(check, "%u (%s)", date, without_sysroot(examined, path));
    }
    if (date < LODGE_PASST_LEAST) {
        g_autofree char *install = lodge_distro_install(&examined->distro, LODGE_NEED_PASST);
        lodge_check_gap(check, LODGE_CHECK_DEGRADED, cost,
                        g_strdup_printf("%s (of %u or later: older ones lose data)",
                                        path == NULL ? install : "another passt",
                                        LODGE_PASST_LEAST));
    }
}

void
lodge_check_swtpm(const LodgeExamined *examined, LodgeCheck *check)
{
    check_program(examined, "swtpm", LODGE_NEED_SWTPM,
                  "guests have no TPM, which Windows 11 asks for", check);
}

void
lodge_check_ssh(const LodgeExamined *examined, LodgeCheck *check)
{
    check_program(examined, "ssh", LODGE_NEED_SSH, "no logging in to guests over SSH", check);
}

void
lodge_check_ovmf(const LodgeExamined *examined, LodgeCheck *check)
{
    g_autoptr(LodgeFirmware) plain = lodge_firmware_find(examined->sysroot, FALSE);
    g_autoptr(LodgeFirmware) secure = lodge_firmware_find(examined->sysroot, TRUE);
    if (plain == NULL && secure == NULL) {
        lodge_check_found(check, "none found");
        lodge_check_gap(check, LODGE_CHECK_MISSING,
                        "guests boot in BIOS mode only: no Windows 11, no Secure Boot",
                        lodge_distro_install(&examined->distro, LODGE_NEED_OVMF));
        return;
    }
    lodge_check_found(check, "%s%s%s", plain != NULL ? plain->code : "",
                      plain != NULL && secure != NULL ? "; Secure Boot: " : "",
                      secure != NULL ? secure->code : "");
    if (secure == NULL) {
        lodge_check_gap(check, LODGE_CHECK_DEGRADED, "no Secure Boot for guests",
                        lodge_distro_install(&examined->distro, LODGE_NEED_OVMF));
    }
}
