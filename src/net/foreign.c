#include "config.h"

#include "net/foreign.h"

#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "host/firewalls.h"
#include "net/nat64.h"

enum {
    PROGRAM_TIMEOUT_MS = 15000,
    NAMES_LIMIT_BYTES = 4096,
};

#define SHARED_ZONE "nm-shared"
#define GUARD "lodge-guard-"

/* In the order of is_ipv6. */
static const struct {
    const char *list, *restore, *legacy, *family;
} tools[] = {
    {"iptables", "iptables-restore", "/proc/net/ip_tables_names", "ip"},
    {"ip6tables", "ip6tables-restore", "/proc/net/ip6_tables_names", "ip6"},
};

static gboolean
is_ours(const char *line, const char *comment)
{
    const char *found = strstr(line, comment);
    char after = found != NULL ? found[strlen(comment)] : 'x';
    return g_str_has_prefix(line, "-A ") && (after == ' ' || after == '"' || after == '\0');
}

static void
remove_ours(GString *text, const char *listing, const char *comment)
{
    g_auto(GStrv) lines = g_strsplit(listing, "\n", -1);
    for (gsize i = 0; lines[i] != NULL; i++) {
        if (is_ours(lines[i], comment)) {
            g_string_append_printf(text, "-D %s\n", lines[i] + strlen("-A "));
        }
    }
}

static void
open_forward(GString *text, const LodgeNetwork *network, const char *comment)
{
    const char *bridge = network->bridge;
    if (network->mode != LODGE_NETWORK_NAT) {
        /* Guests among themselves, where bridge-nf-call shows their frames to the firewall. */
        g_string_append_printf(text, "-A FORWARD -i %s -o %s -m comment --comment %s -j ACCEPT\n",
                               bridge, bridge, comment);
        return;
    }
    g_string_append_printf(text,
                           "-A FORWARD -i %s -m comment --comment %s -j ACCEPT\n"
                           "-A FORWARD -o %s -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -m "
                           "comment --comment %s -j ACCEPT\n",
                           bridge, comment, bridge, comment);
    if (network->nat64) {
        g_autofree char *link = lodge_nat64_link(network->name);
        g_string_append_printf(text,
                               "-A FORWARD -i %s -m comment --comment %s -j ACCEPT\n"
                               "-A FORWARD -o %s -m conntrack --ctstate RELATED,ESTABLISHED -m "
                               "comment --comment %s -j ACCEPT\n",
                               link, comment, link, comment);
    }
}

static void
open_input(GString *text, const LodgeNetwork *network, const char *comment, gboolean is_ipv6)
{
    const char *const allowed[] = {
        is_ipv6 ? "-p udp --dport 547" : "-p udp --dport 67",
        "-p udp --dport 53",
        "-p tcp --dport 53",
        is_ipv6 ? "-p ipv6-icmp" : "-p icmp",
        network->pxe_root != NULL ? "-p udp --dport 69" : NULL,
    };
    for (gsize i = 0; i < G_N_ELEMENTS(allowed); i++) {
        if (allowed[i] != NULL) {
            g_string_append_printf(text, "-I INPUT -i %s %s -m comment --comment %s -j ACCEPT\n",
                                   network->bridge, allowed[i], comment);
        }
    }
}

char *
lodge_foreign_render(const LodgeNetwork *network, const char *listing, gboolean is_ipv6,
                     gboolean opens)
{
    g_autoptr(GString) text = g_string_new(NULL);
    g_autofree char *comment = g_strconcat("lodge:", network->bridge, NULL);
    remove_ours(text, listing, comment);
    if (opens && strstr(listing, "-P FORWARD DROP") != NULL) {
        open_forward(text, network, comment);
    }
    if (opens && strstr(listing, "-P INPUT DROP") != NULL && network->host &&
        lodge_network_has_own_bridge(network)) {
        open_input(text, network, comment, is_ipv6);
    }
    return text->len == 0 ? g_strdup("") : g_strdup_printf("*filter\n%sCOMMIT\n", text->str);
}

gboolean
lodge_foreign_is_open(const LodgeNetwork *network, const char *listing, gboolean is_ipv6)
{
    g_autofree char *comment = g_strconcat("lodge:", network->bridge, NULL);
    g_autofree char *rules = lodge_foreign_render(network, listing, is_ipv6, TRUE);
    g_auto(GStrv) wanted = g_strsplit(rules, "\n", -1);
    g_auto(GStrv) lines = g_strsplit(listing, "\n", -1);
    int missing = 0;
    gboolean is_behind = TRUE;
    gboolean has_begun = FALSE;
    for (gsize i = 0; wanted[i] != NULL; i++) {
        missing += g_str_has_prefix(wanted[i], "-A ") || g_str_has_prefix(wanted[i], "-I ");
    }
    for (gsize i = 0; lines[i] != NULL; i++) {
        gboolean ours = is_ours(lines[i], comment);
        gboolean forwards = g_str_has_prefix(lines[i], "-A FORWARD ");
        missing -= ours;
        has_begun = has_begun || (ours && forwards);
        /* Other networks' are as good behind ours as before. */
        if (has_begun && forwards && strstr(lines[i], "lodge:") == NULL) {
            is_behind = FALSE;
        }
    }
    return missing == 0 && is_behind;
}

/* Has this family a filter table of iptables, of either kind? Asking iptables might make one. */
static gboolean
has_filter(gsize family, char **chains)
{
    g_autofree char *names = lodge_file_read(tools[family].legacy, NAMES_LIMIT_BYTES, NULL, NULL);
    g_autofree char *prefix = g_strconcat(tools[family].family, " filter ", NULL);
    for (gsize i = 0; chains[i] != NULL; i++) {
        if (g_str_has_prefix(chains[i], prefix)) {
            return TRUE;
        }
    }
    return names != NULL && strstr(names, "filter") != NULL;
}

/* With @only_missing nothing is changed if all is there. */
static gboolean
apply(gsize family, const LodgeNetwork *network, gboolean opens, gboolean only_missing,
      GError **error)
{
    g_autofree char *list = lodge_program_find(tools[family].list);
    g_autofree char *restore = lodge_program_find(tools[family].restore);
    g_autofree char *listing = NULL;
    if (list == NULL || restore == NULL) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED, "there is no %s",
                               tools[family].list);
    }
    const char *const list_argv[] = {list, "-w", "10", "-S", NULL};
    const char *const restore_argv[] = {restore, "-w", "10", "--noflush", NULL};
    if (!lodge_process_run_argv(list_argv, PROGRAM_TIMEOUT_MS, &listing, error)) {
        return FALSE;
    }
    if (only_missing && lodge_foreign_is_open(network, listing, family == 1)) {
        return TRUE;
    }
    g_autofree char *rules = lodge_foreign_render(network, listing, family == 1, opens);
    LodgeProcess process = {.argv = restore_argv, .input = rules, .timeout_ms = PROGRAM_TIMEOUT_MS};
    return *rules == '\0' || lodge_process_run(&process, NULL, error);
}

/* --- firewalld -----------------------------------------------------------------------------------
 */

char *
lodge_foreign_render_guard(const LodgeNetwork *network)
{
    g_autofree char *translator = lodge_nat64_link(network->name);
    return g_strdup_printf("table inet " GUARD "%s {\n"
                           "    chain input {\n"
                           "        type filter hook input priority filter; policy accept;\n"
                           "        iifname != { \"%s\", \"%s\" } accept\n"
                           "        ct state established,related accept\n"
                           "        meta l4proto { icmp, ipv6-icmp } accept\n"
                           "        udp dport { 53, 67, 547%s } accept\n"
                           "        tcp dport 53 accept\n"
                           "        reject with icmpx type admin-prohibited\n"
                           "    }\n"
                           "}\n",
                           network->bridge, network->bridge, translator,
                           network->pxe_root != NULL ? ", 69" : "");
}

/* Begin it anew, or, with @wanted FALSE, remove it. */
static gboolean
set_guard(LodgeNet *net, const LodgeNetwork *network, gboolean wanted, GError **error)
{
    g_autofree char *rules = wanted ? lodge_foreign_render_guard(network) : g_strdup("");
    g_autofree char *text = g_strdup_printf("add table inet " GUARD "%s\ndelete table inet " GUARD
                                            "%s\n%s",
                                            network->bridge, network->bridge, rules);
    return lodge_net_nft(net, text, error);
}

/* The zone for connections that are shared lets in DHCP, DNS and ICMP. It comes with
 * NetworkManager; where it is missing, the only zone that lets all out lets all in too. */
static gboolean
choose_zone(const char **out_zone, GError **error)
{
    g_autofree char *zones = NULL;
    const char *const ask[] = {"firewall-cmd", "--get-zones", NULL};
    if (!lodge_process_run_argv(ask, PROGRAM_TIMEOUT_MS, &zones, error)) {
        return FALSE;
    }
    *out_zone = strstr(zones, SHARED_ZONE) != NULL ? SHARED_ZONE : "trusted";
    return TRUE;
}

static gboolean
set_zone(const char *zone, const char *link, gboolean opens, GError **error)
{
    g_autofree char *name = g_strconcat("--zone=", zone, NULL);
    g_autofree char *interface = g_strdup_printf("--%s-interface=%s", opens ? "change" : "remove",
                                                 link);
    const char *const argv[] = {"firewall-cmd", name, interface, NULL};
    return lodge_process_run_argv(argv, PROGRAM_TIMEOUT_MS, NULL, error);
}

/* The guard is there before the zone, and goes after it. */
static gboolean
apply_firewalld(LodgeNet *net, const LodgeNetwork *network, gboolean opens, GError **error)
{
    const char *zone = NULL;
    g_autofree char *translator = lodge_nat64_link(network->name);
    return choose_zone(&zone, error) &&
           (!opens || g_str_equal(zone, SHARED_ZONE) || set_guard(net, network, TRUE, error)) &&
           set_zone(zone, network->bridge, opens, error) &&
           (!network->nat64 || set_zone(zone, translator, opens, error));
}

static void
report(LodgeNet *net, const LodgeNetwork *network, const GError *error)
{
    if (error != NULL) {
        lodge_event_append(
            net->store, NULL, "network-firewall-failed",
            json_pack("{s:s, s:s}", "network", network->name, "reason", error->message));
    }
}

static gboolean
apply_iptables(LodgeNet *net, const LodgeNetwork *network, gboolean opens, gboolean only_missing)
{
    g_auto(GStrv) chains = lodge_nftables_chains();
    gboolean fine = TRUE;
    for (gsize family = 0; family < G_N_ELEMENTS(tools); family++) {
        g_autoptr(GError) error = NULL;
        if (has_filter(family, chains)) {
            fine = apply(family, network, opens, only_missing, &error) && fine;
            report(net, network, error);
        }
    }
    return fine;
}

static gboolean
has_guard(const LodgeNetwork *network, char **chains)
{
    g_autofree char *prefix = g_strconcat("inet " GUARD, network->bridge, " ", NULL);
    gboolean found = FALSE;
    for (gsize i = 0; chains[i] != NULL; i++) {
        found = found || g_str_has_prefix(chains[i], prefix);
    }
    return found;
}

static gboolean
apply_zones(LodgeNet *net, const LodgeNetwork *network, gboolean opens)
{
    g_autoptr(GError) error = NULL;
    g_auto(GStrv) chains = lodge_nftables_chains();
    LodgeFirewalls found = lodge_firewalls_judge((const char *const *)chains);
    gboolean concerns = found.firewalld && lodge_network_has_own_bridge(network);
    gboolean fine = !concerns || apply_firewalld(net, network, opens, &error);
    report(net, network, error);
    if ((!concerns || !opens) && has_guard(network, chains)) {
        fine = set_guard(net, network, FALSE, NULL) && fine;
    }
    return fine;
}

gboolean
lodge_foreign_keep_open(LodgeNet *net, const LodgeNetwork *network, gboolean firewalld)
{
    gboolean fine = apply_iptables(net, network, TRUE, TRUE);
    return (!firewalld || apply_zones(net, network, TRUE)) && fine;
}

void
lodge_foreign_open(LodgeNet *net, const LodgeNetwork *network)
{
    if (network->bridge != NULL) {
        apply_iptables(net, network, TRUE, FALSE);
        apply_zones(net, network, TRUE);
    }
}

void
lodge_foreign_close(LodgeNet *net, const LodgeNetwork *network)
{
    if (network->bridge != NULL) {
        apply_iptables(net, network, FALSE, FALSE);
        apply_zones(net, network, FALSE);
    }
}
