#include "agent/netlink.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    ANSWER_BYTES = 32 * 1024,
};

int
netlink_open(uint32_t groups)
{
    struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = groups};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | (groups != 0 ? SOCK_NONBLOCK : 0),
                    NETLINK_ROUTE);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        int saved_errno = errno;
        close(fd);
        errno = saved_errno;
        return -1;
    }
    return fd;
}

void
netlink_begin(NetlinkMessage *message, uint16_t type, uint16_t flags, const void *body,
              size_t body_bytes)
{
    memset(message, 0, sizeof *message);
    message->u.header.nlmsg_len = (uint32_t)NLMSG_LENGTH(body_bytes);
    message->u.header.nlmsg_type = type;
    message->u.header.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
    memcpy(message->u.bytes + NLMSG_HDRLEN, body, body_bytes);
}

void
netlink_attribute(NetlinkMessage *message, uint16_t type, const void *value, size_t bytes)
{
    size_t at = NLMSG_ALIGN(message->u.header.nlmsg_len);
    if (at + RTA_SPACE(bytes) > sizeof message->u.bytes) {
        return; /* all of ours are a few bytes */
    }
    struct rtattr attribute = {.rta_len = (uint16_t)RTA_LENGTH(bytes), .rta_type = type};
    memcpy(message->u.bytes + at, &attribute, sizeof attribute);
    memcpy(message->u.bytes + at + RTA_LENGTH(0), value, bytes);
    message->u.header.nlmsg_len = (uint32_t)(at + RTA_LENGTH(bytes));
}

/* Read one datagram of answers. 1: more will come, 0: the end, else -errno. */
static int
read_answers(int fd, uint32_t sequence, NetlinkFunc each, void *data)
{
    static union {
        struct nlmsghdr header;
        char bytes[ANSWER_BYTES];
    } buffer;
    ssize_t length = recv(fd, &buffer, sizeof buffer, 0);
    if (length < 0) {
        return errno == EINTR ? 1 : -errno;
    }
    unsigned left = (unsigned)length;
    for (struct nlmsghdr *answer = &buffer.header; NLMSG_OK(answer, left);
         answer = NLMSG_NEXT(answer, left)) {
        if (answer->nlmsg_seq != sequence) {
            continue;
        }
        if (answer->nlmsg_type == NLMSG_DONE) {
            return 0;
        }
        if (answer->nlmsg_type == NLMSG_ERROR) {
            const struct nlmsgerr *problem = NLMSG_DATA(answer);
            return problem->error;
        }
        if (each != NULL) {
            each(answer, data);
        }
    }
    return 1;
}

static int
converse(int fd, struct nlmsghdr *question, NetlinkFunc each, void *data)
{
    static uint32_t sequence;
    question->nlmsg_seq = ++sequence;
    if (send(fd, question, question->nlmsg_len, 0) < 0) {
        return errno;
    }
    int more;
    do {
        more = read_answers(fd, question->nlmsg_seq, each, data);
    } while (more > 0);
    return -more;
}

int
netlink_order(int fd, NetlinkMessage *message)
{
    message->u.header.nlmsg_flags |= NLM_F_ACK;
    return converse(fd, &message->u.header, NULL, NULL);
}

int
netlink_dump(int fd, uint16_t type, const void *body, size_t body_bytes, NetlinkFunc each,
             void *data)
{
    NetlinkMessage message;
    netlink_begin(&message, type, NLM_F_DUMP, body, body_bytes);
    return converse(fd, &message.u.header, each, data);
}

void
netlink_attributes(const struct nlmsghdr *answer, size_t body_bytes,
                   const struct rtattr *out_attributes[], unsigned count)
{
    memset(out_attributes, 0, count * sizeof *out_attributes);
    if (answer->nlmsg_len < NLMSG_LENGTH(body_bytes)) {
        return;
    }
    unsigned left = answer->nlmsg_len - (unsigned)NLMSG_LENGTH(body_bytes);
    const struct rtattr *attribute = (const struct rtattr *)((const char *)answer +
                                                             NLMSG_LENGTH(NLMSG_ALIGN(body_bytes)));
    for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left)) {
        if (attribute->rta_type < count) {
            out_attributes[attribute->rta_type] = attribute;
        }
    }
}
