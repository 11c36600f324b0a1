#include "config.h"

#include "host/firewalls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>

#include "base/base.h"

enum {
    ANSWER_TIMEOUT_MS = 2000,
    ANSWER_BYTES = 64 << 10,
};

/* An attribute of a message; NULL: it has none. */
static const struct nlattr *
attribute(const guint8 *bytes, gsize length, guint16 type)
{
    for (gsize at = 0; at + sizeof(struct nlattr) <= length;) {
        const struct nlattr *one = (const struct nlattr *)(gconstpointer)(bytes + at);
        if (one->nla_len < sizeof *one || at + one->nla_len > length) {
            return NULL;
        }
        if ((one->nla_type & NLA_TYPE_MASK) == type) {
            return one;
        }
        at += NLA_ALIGN(one->nla_len);
    }
    return NULL;
}

static const guint8 *
content(const struct nlattr *one)
{
    return (const guint8 *)one + sizeof *one;
}

static gsize
content_length(const struct nlattr *one)
{
    return one->nla_len - sizeof *one;
}

static char *
text_of(const struct nlattr *one)
{
    return one != NULL ? g_strndup((const char *)content(one), content_length(one)) : g_strdup("-");
}

static guint32
number_of(const struct nlattr *one, guint32 fallback)
{
    guint32 value = 0;
    if (one == NULL || content_length(one) < sizeof value) {
        return fallback;
    }
    memcpy(&value, content(one), sizeof value);
    return ntohl(value);
}

static const char *
family_word(guint8 family)
{
    switch (family) {
    case NFPROTO_INET:
        return "inet";
    case NFPROTO_IPV4:
        return "ip";
    case NFPROTO_IPV6:
        return "ip6";
    case NFPROTO_BRIDGE:
        return "bridge";
    default:
        return "other";
    }
}

static char *
describe(const struct nlmsghdr *head)
{
    static const char *const hooks[] = {"prerouting", "input", "forward", "output", "postrouting"};
    const struct nfgenmsg *family = NLMSG_DATA(head);
    const guint8 *bytes = (const guint8 *)family + NLMSG_ALIGN(sizeof *family);
    gsize length = head->nlmsg_len - NLMSG_LENGTH(sizeof *family);
    const struct nlattr *hook = attribute(bytes, length, NFTA_CHAIN_HOOK);
    const struct nlattr *number = hook != NULL ? attribute(content(hook), content_length(hook),
                                                           NFTA_HOOK_HOOKNUM)
                                               : NULL;
    guint32 index = number_of(number, G_N_ELEMENTS(hooks));
    guint32 policy = number_of(attribute(bytes, length, NFTA_CHAIN_POLICY), NF_ACCEPT);
    g_autofree char *table = text_of(attribute(bytes, length, NFTA_CHAIN_TABLE));
    g_autofree char *name = text_of(attribute(bytes, length, NFTA_CHAIN_NAME));
    return g_strdup_printf("%s %s %s %s %s", family_word(family->nfgen_family), table, name,
                           index < G_N_ELEMENTS(hooks) ? hooks[index] : "-",
                           hook == NULL ? "-" : (policy == NF_DROP ? "drop" : "accept"));
}

/* Take the messages of one answer. FALSE: it was the last. */
static gboolean
take_answer(const guint8 *buffer, gsize got, GStrvBuilder *lines)
{
    for (gsize at = 0; at + sizeof(struct nlmsghdr) <= got;) {
        const struct nlmsghdr *head = (const struct nlmsghdr *)(gconstpointer)(buffer + at);
        if (head->nlmsg_len < sizeof *head || at + head->nlmsg_len > got ||
            head->nlmsg_type == NLMSG_DONE || head->nlmsg_type == NLMSG_ERROR) {
            return FALSE;
        }
        if (head->nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWCHAIN) &&
            head->nlmsg_len >= NLMSG_LENGTH(sizeof(struct nfgenmsg))) {
            g_autofree char *line = describe(head);
            g_strv_builder_add(lines, line);
        }
        at += NLMSG_ALIGN(head->nlmsg_len);
    }
    return TRUE;
}

char **
lodge_nftables_chains(void)
{
    struct {
        struct nlmsghdr head;
        struct nfgenmsg family;
    } question = {
        .head = {.nlmsg_len = sizeof question,
                 .nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETCHAIN,
                 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
        .family = {.version = NFNETLINK_V0},
    };
    g_autoptr(GStrvBuilder) lines = g_strv_builder_new();
    g_autofree guint8 *buffer = g_malloc(ANSWER_BYTES);
    gint64 deadline = lodge_deadline_in(ANSWER_TIMEOUT_MS);
    lodge_autofd fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
                             NETLINK_NETFILTER);
    gboolean more = fd >= 0 && send(fd, &question, sizeof question, 0) >= 0;
    while (more && lodge_wait_fd(fd, POLLIN, deadline, NULL)) {
        gssize got = recv(fd, buffer, ANSWER_BYTES, 0);
        more = got > 0 && take_answer(buffer, (gsize)got, lines);
    }
    return g_strv_builder_end(lines);
}

LodgeFirewalls
lodge_firewalls_judge(const char *const *chains)
{
    LodgeFirewalls found = {0};
    for (gsize i = 0; chains[i] != NULL; i++) {
        g_auto(GStrv) words = g_strsplit(chains[i], " ", 5);
        if (g_strv_length(words) != 5 || g_str_equal(words[1], "lodge") ||
            g_str_has_prefix(words[1], "lodge-")) {
            continue;
        }
        gboolean drops = g_str_equal(words[4], "drop") && !g_str_equal(words[0], "bridge");
        found.docker = found.docker || g_str_has_prefix(words[2], "DOCKER");
        found.ufw = found.ufw || g_str_has_prefix(words[2], "ufw-");
        found.firewalld = found.firewalld || g_str_equal(words[1], "firewalld");
        found.drops_input = found.drops_input || (drops && g_str_equal(words[3], "input"));
        found.drops_forward = found.drops_forward || (drops && g_str_equal(words[3], "forward"));
    }
    return found;
}

char *
lodge_firewalls_names(const LodgeFirewalls *firewalls)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    gboolean drops = firewalls->drops_input || firewalls->drops_forward;
    if (firewalls->docker) {
        g_ptr_array_add(names, (gpointer) "Docker");
    }
    if (firewalls->firewalld) {
        g_ptr_array_add(names, (gpointer) "firewalld");
    }
    if (firewalls->ufw) {
        g_ptr_array_add(names, (gpointer) "ufw");
    }
    if (names->len == 0 && drops) {
        g_ptr_array_add(names, (gpointer) "another firewall");
    }
    g_ptr_array_add(names, NULL);
    return g_strjoinv(", ", (char **)names->pdata);
}
