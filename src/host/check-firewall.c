/* Check of other firewalls, beside which guests' networks must live. */
#include "config.h"

#include "base/base.h"
#include "host/check.h"
#include "host/firewalls.h"

static gboolean
calls_firewall(const LodgeExamined *examined)
{
    g_autofree char *path = g_strconcat(examined->sysroot,
                                        "/proc/sys/net/bridge/bridge-nf-call-iptables", NULL);
    g_autofree char *value = lodge_file_read(path, 64, NULL, NULL);
    return value != NULL && *value == '1';
}

/* Are the programs there by which Lodge lets its networks through? */
static void
check_tools(const LodgeExamined *examined, const LodgeFirewalls *found, const char *names,
            LodgeCheck *check)
{
    g_autofree char *iptables = lodge_system_program(examined->sysroot, "iptables");
    g_autofree char *firewall_cmd = lodge_system_program(examined->sysroot, "firewall-cmd");
    gboolean drops = found->drops_input || found->drops_forward;
    if ((found->firewalld && firewall_cmd == NULL) || (drops && iptables == NULL)) {
        lodge_check_found(check, "%s drops what it does not know", names);
    }
    if (found->firewalld && firewall_cmd == NULL) {
        lodge_check_gap(check, LODGE_CHECK_DEGRADED,
                        "guests of Lodge's networks may get no address and reach nothing outside",
                        g_strdup("install firewall-cmd, or put Lodge's bridges (lb-…) into a zone "
                                 "that lets them through"));
    } else if ((found->drops_input || found->drops_forward) && iptables == NULL) {
        lodge_check_gap(
            check, LODGE_CHECK_DEGRADED,
            "guests of Lodge's networks may get no address and reach nothing outside",
            g_strdup("let what comes from Lodge's bridges (lb-*) pass there: UDP 67, 547 "
                     "and port 53 to this host, and what is forwarded"));
    }
}

void
lodge_check_firewall(const LodgeExamined *examined, LodgeCheck *check)
{
    static const char *const none[] = {NULL};
    const char *const *chains = examined->facts->chains != NULL ? examined->facts->chains : none;
    LodgeFirewalls found = lodge_firewalls_judge(chains);
    g_autofree char *names = lodge_firewalls_names(&found);
    if (examined->facts->nftables_errno < 0) {
        lodge_check_found(check, "only root can look at their rules");
        return;
    }
    if (*names == '\0') {
        lodge_check_found(check, "none");
        return;
    }
    gboolean blocks = found.firewalld || found.drops_input || found.drops_forward;
    lodge_check_found(check, "%s%s%s", names,
                      blocks ? ": what it drops of Lodge's networks is let through while they run"
                             : ", which drops nothing by default",
                      blocks && calls_firewall(examined)
                          ? " (bridge-nf-call-iptables=1: it sees frames between guests too)"
                          : "");
    check_tools(examined, &found, names, check);
}
