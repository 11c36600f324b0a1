/* Checks of what the kernel has for guests' networks. */
#include "config.h"

#include <string.h>

#include "base/base.h"
#include "host/check.h"

typedef struct {
    const char *module;
    const char *option; /* the configuration's word for it */
    const char *device; /* its node, below /dev; NULL if it has none */
    gboolean on_demand; /* the kernel loads it itself when root makes use of it */
    const char *cost;
} Feature;

/* There is code for it in the kernel, but no device node. */
static void
check_node(const LodgeExamined *examined, const Feature *feature, LodgeCheck *check)
{
    char *mend = examined->container != NULL
                     ? g_strdup_printf("start the container with --device %s", feature->device)
                     : g_strdup("start a device manager (udev, mdev), which makes the node");
    lodge_check_found(check, "there is no %s", feature->device);
    lodge_check_gap(check, LODGE_CHECK_MISSING, feature->cost, mend);
}

/* Another kernel is needed, or the rest of this one. */
static void
check_absent(const LodgeExamined *examined, const Feature *feature, LodgeModuleState state,
             LodgeCheck *check)
{
    g_autofree char *folder = g_strdup_printf("/lib/modules/%s",
                                              lodge_kernel_release(examined->kernel));
    gboolean modules_gone = state == LODGE_MODULE_NOT_INSTALLED &&
                            !lodge_system_exists(examined->sysroot, folder);
    lodge_check_found(check,
                      state == LODGE_MODULE_NOT_BUILT ? "this kernel was built without %s"
                                                      : "the file of the module %s is missing",
                      feature->module);
    char *mend = NULL;
    if (examined->container != NULL) {
        mend = g_strdup_printf("on this container's host: modprobe %s", feature->module);
    } else if (modules_gone) {
        mend = g_strdup("reboot: the modules of the running kernel are gone, as after an upgrade");
    } else {
        mend = lodge_distro_kernel_with(&examined->distro, feature->option);
    }
    lodge_check_gap(check, LODGE_CHECK_MISSING, feature->cost, mend);
}

/* The module's file is there. */
static void
check_loadable(const LodgeExamined *examined, const Feature *feature, LodgeCheck *check)
{
    lodge_check_found(check, "the module %s is there, not loaded%s", feature->module,
                      feature->on_demand ? ": the kernel loads it when needed" : "");
    if (!feature->on_demand) {
        lodge_check_gap(check, LODGE_CHECK_MISSING, feature->cost,
                        lodge_check_modprobe(examined, feature->module));
    }
}

static void
check_unknown(const LodgeExamined *examined, const Feature *feature, LodgeCheck *check)
{
    if (feature->device != NULL && examined->container != NULL) {
        check_node(examined, feature, check);
        return;
    }
    lodge_check_found(check, "nothing tells whether this kernel has %s", feature->module);
    lodge_check_gap(check, LODGE_CHECK_DEGRADED, feature->cost,
                    lodge_check_modprobe(examined, feature->module));
}

/* The state of one feature of the kernel; its detail, cost and mend go to @check. */
static LodgeModuleState
check_feature(const LodgeExamined *examined, const Feature *feature, LodgeCheck *check)
{
    LodgeModuleState state = lodge_kernel_module(examined->kernel, feature->module,
                                                 feature->option);
    gboolean has_device = feature->device != NULL;
    if (has_device && lodge_system_exists(examined->sysroot, feature->device)) {
        lodge_check_found(check, "%s", feature->device);
        return LODGE_MODULE_LOADED;
    }
    switch (state) {
    case LODGE_MODULE_BUILTIN:
    case LODGE_MODULE_LOADED:
        if (has_device) {
            check_node(examined, feature, check);
        } else {
            lodge_check_found(check, "%s is %s", feature->module,
                              state == LODGE_MODULE_LOADED ? "loaded" : "built in");
        }
        break;
    case LODGE_MODULE_LOADABLE:
        check_loadable(examined, feature, check);
        break;
    case LODGE_MODULE_NOT_INSTALLED:
    case LODGE_MODULE_NOT_BUILT:
        check_absent(examined, feature, state, check);
        break;
    case LODGE_MODULE_UNKNOWN:
        check_unknown(examined, feature, check);
        break;
    }
    return state;
}

void
lodge_check_vhost_net(const LodgeExamined *examined, LodgeCheck *check)
{
    static const Feature feature = {
        "vhost_net", "VHOST_NET", "/dev/vhost-net", FALSE,
        "packets of guests pass through QEMU: about half the throughput, more processor time"};
    check_feature(examined, &feature, check);
}

void
lodge_check_vhost_vsock(const LodgeExamined *examined, LodgeCheck *check)
{
    static const Feature feature = {"vhost_vsock", "VHOST_VSOCK", "/dev/vhost-vsock", FALSE,
                                    "host and guest talk over a serial port instead of vsock"};
    check_feature(examined, &feature, check);
}

void
lodge_check_tun(const LodgeExamined *examined, LodgeCheck *check)
{
    static const Feature feature = {"tun", "TUN", "/dev/net/tun", FALSE,
                                    "guests have user-mode networking only: slow, and nobody "
                                    "reaches them but through forwarded ports"};
    check_feature(examined, &feature, check);
}

void
lodge_check_bridge(const LodgeExamined *examined, LodgeCheck *check)
{
    static const Feature feature = {"bridge", "BRIDGE", NULL, TRUE,
                                    "no networks for guests but routed and user-mode ones"};
    check_feature(examined, &feature, check);
}

void
lodge_check_vlan(const LodgeExamined *examined, LodgeCheck *check)
{
    static const Feature tags = {"8021q", "VLAN_8021Q", NULL, TRUE,
                                 "guests can't be put into VLANs"};
    LodgeModuleState state = check_feature(examined, &tags, check);
    gboolean usable = state == LODGE_MODULE_BUILTIN || state == LODGE_MODULE_LOADED ||
                      state == LODGE_MODULE_LOADABLE;
    if (usable && lodge_kernel_option(examined->kernel, "BRIDGE_VLAN_FILTERING") == 'n') {
        lodge_check_found(check, "8021q, but bridges can't filter VLANs");
        lodge_check_gap(check, LODGE_CHECK_DEGRADED, "each VLAN needs a bridge of its own",
                        lodge_distro_kernel_with(&examined->distro, "BRIDGE_VLAN_FILTERING"));
    }
}

void
lodge_check_nftables(const LodgeExamined *examined, LodgeCheck *check)
{
    static const Feature tables = {"nf_tables", "NF_TABLES", NULL, TRUE,
                                   "no NAT networks, and no firewall for guests"};
    static const Feature nat = {"nft_masq", "NFT_MASQ", NULL, TRUE, "no NAT networks for guests"};
    int answer = examined->facts->nftables_errno;
    check_feature(examined, &tables, check);
    if (answer > 0) {
        lodge_check_found(check, "the kernel refuses: %s", g_strerror(answer));
        lodge_check_gap(check, LODGE_CHECK_MISSING, tables.cost,
                        examined->container != NULL
                            ? g_strdup("start the container with --cap-add NET_ADMIN")
                            : lodge_distro_kernel_with(&examined->distro, tables.option));
        return;
    }
    if (answer == 0) {
        check->state = LODGE_CHECK_OK;
        g_clear_pointer(&check->cost, g_free);
        g_clear_pointer(&check->mend, g_free);
    }
    if (check->state != LODGE_CHECK_OK) {
        return;
    }
    LodgeModuleState state = lodge_kernel_module(examined->kernel, nat.module, nat.option);
    if (state == LODGE_MODULE_NOT_BUILT || state == LODGE_MODULE_NOT_INSTALLED) {
        check_feature(examined, &nat, check);
        check->state = LODGE_CHECK_DEGRADED;
        return;
    }
    lodge_check_found(check, "%s", answer == 0 ? "the kernel answers" : "in the kernel");
}
