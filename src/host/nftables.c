#include "config.h"

#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>

#include "base/base.h"
#include "host/check.h"

enum { ANSWER_TIMEOUT_MS = 20 };

int
lodge_nftables_ask(void)
{
    struct {
        struct nlmsghdr head;
        struct nfgenmsg family;
    } question = {
        .head = {.nlmsg_len = sizeof question,
                 .nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN,
                 .nlmsg_flags = NLM_F_REQUEST},
        .family = {.version = NFNETLINK_V0},
    };
    union {
        struct nlmsghdr head;
        guint8 space[4096];
    } answer;
    lodge_autofd fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
                             NETLINK_NETFILTER);
    if (fd < 0 || send(fd, &question, sizeof question, 0) < 0) {
        return errno;
    }
    if (!lodge_wait_fd(fd, POLLIN, lodge_deadline_in(ANSWER_TIMEOUT_MS), NULL)) {
        return ETIMEDOUT;
    }
    gssize got = recv(fd, &answer, sizeof answer, 0);
    if (got < (gssize)sizeof answer.head) {
        return got < 0 ? errno : EBADMSG;
    }
    if (answer.head.nlmsg_type != NLMSG_ERROR) {
        return 0;
    }
    struct nlmsgerr problem;
    if (got < (gssize)NLMSG_LENGTH(sizeof problem.error)) {
        return EBADMSG;
    }
    memcpy(&problem.error, NLMSG_DATA(&answer.head), sizeof problem.error);
    return -problem.error;
}
