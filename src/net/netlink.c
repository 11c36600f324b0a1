#include "config.h"

#include "net/netlink.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/base.h"

enum {
    ANSWER_BYTES = 64 << 10,
    ANSWER_TIMEOUT_MS = 10000,
    /* The kernel answers all messages within the call that hands them over, and forgets answers for
     * which the socket has no room: by default for some 270. */
    PART_LIMIT = 100,
};

typedef struct {
    struct nl_msg *message;
    char *what;
    int tolerated;
    int result; /* -1: no answer yet; else 0 or an errno value */
} Request;

struct LodgeNetlink {
    int fd;
    guint32 sequence; /* of the next message */
    GPtrArray *batch; /* Request * */
    char *buffer;
};

static void
request_free(gpointer data)
{
    Request *request = data;
    nlmsg_free(request->message);
    g_free(request->what);
    g_free(request);
}

LodgeNetlink *
lodge_netlink_open(GError **error)
{
    g_autoptr(LodgeNetlink) netlink = g_new0(LodgeNetlink, 1);
    netlink->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    netlink->sequence = 1;
    netlink->batch = g_ptr_array_new_with_free_func(request_free);
    netlink->buffer = g_malloc(ANSWER_BYTES);
    struct sockaddr_nl address = {.nl_family = AF_NETLINK};
    int yes = 1;
    if (netlink->fd < 0 || bind(netlink->fd, (struct sockaddr *)&address, sizeof address) < 0) {
        lodge_error_errno(error, errno, "Opening netlink");
        return NULL;
    }
    /* Where the kernel has more to say of an error than its number, it is asked to. */
    setsockopt(netlink->fd, SOL_NETLINK, NETLINK_EXT_ACK, &yes, sizeof yes);
    setsockopt(netlink->fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &yes, sizeof yes);
    return g_steal_pointer(&netlink);
}

void
lodge_netlink_free(LodgeNetlink *netlink)
{
    if (netlink != NULL) {
        lodge_fd_clear(&netlink->fd);
        g_ptr_array_unref(netlink->batch);
        g_free(netlink->buffer);
        g_free(netlink);
    }
}

struct nl_msg *
lodge_netlink_message(LodgeNetlink *netlink, int type, int flags, const char *what, ...)
{
    va_list arguments;
    va_start(arguments, what);
    Request *request = g_new0(Request, 1);
    request->what = g_strdup_vprintf(what, arguments);
    request->result = -1;
    request->message = nlmsg_alloc();
    va_end(arguments);
    nlmsg_put(request->message, 0, netlink->sequence + netlink->batch->len, type, 0,
              NLM_F_REQUEST | NLM_F_ACK | flags);
    g_ptr_array_add(netlink->batch, request);
    return request->message;
}

void
lodge_netlink_tolerate(LodgeNetlink *netlink, int error_number)
{
    Request *last = netlink->batch->pdata[netlink->batch->len - 1];
    last->tolerated = error_number;
}

char **
lodge_netlink_describe(LodgeNetlink *netlink)
{
    g_autoptr(GPtrArray) lines = g_ptr_array_new();
    for (guint i = 0; i < netlink->batch->len; i++) {
        const Request *request = netlink->batch->pdata[i];
        g_ptr_array_add(lines, g_strdup(request->what));
    }
    g_ptr_array_add(lines, NULL);
    g_ptr_array_set_size(netlink->batch, 0);
    return (char **)g_ptr_array_free(g_steal_pointer(&lines), FALSE);
}

static gssize
receive(LodgeNetlink *netlink, GError **error)
{
    gint64 deadline = lodge_deadline_in(ANSWER_TIMEOUT_MS);
    for (;;) {
        gssize got = recv(netlink->fd, netlink->buffer, ANSWER_BYTES, MSG_DONTWAIT);
        if (got >= 0) {
            return got;
        }
        if (errno != EAGAIN && errno != EINTR) {
            lodge_error_errno(error, errno, "Hearing the kernel's answer");
            return -1;
        }
        /* The kernel answers within the call that asked: waiting is for what is overheard. */
        struct pollfd poll_fd = {.fd = netlink->fd, .events = POLLIN};
        if (poll(&poll_fd, 1, 1000) < 0 && errno != EINTR) {
            lodge_error_errno(error, errno, "Waiting for the kernel's answer");
            return -1;
        }
        if (lodge_deadline_passed(deadline)) {
            lodge_error_set(error, LODGE_ERROR_TIMEOUT, "the kernel does not answer");
            return -1;
        }
    }
}

/* What the kernel said besides the number; NULL: nothing. */
static char *
extended_words(struct nlmsghdr *answer)
{
    struct nlmsgerr *problem = nlmsg_data(answer);
    gsize skipped = sizeof *problem;
    if (!(answer->nlmsg_flags & NLM_F_ACK_TLVS)) {
        return NULL;
    }
    if (!(answer->nlmsg_flags & NLM_F_CAPPED)) {
        skipped += problem->msg.nlmsg_len - sizeof problem->msg;
    }
    struct nlattr *words = nlmsg_find_attr(answer, (int)skipped, NLMSGERR_ATTR_MSG);
    return words != NULL ? g_strndup(nla_data(words), (gsize)nla_len(words)) : NULL;
}

/* Take one acknowledgement; the first failure that is not tolerated becomes the error. */
static void
take_answer(LodgeNetlink *netlink, struct nlmsghdr *answer, guint *missing, GError **error)
{
    guint32 index = answer->nlmsg_seq - netlink->sequence;
    if (answer->nlmsg_type != NLMSG_ERROR || index >= netlink->batch->len) {
        return;
    }
    Request *request = netlink->batch->pdata[index];
    struct nlmsgerr *problem = nlmsg_data(answer);
    if (request->result >= 0) {
        return;
    }
    request->result = -problem->error;
    *missing -= 1;
    if (request->result == 0 || request->result == request->tolerated || *error != NULL) {
        return;
    }
    g_autofree char *words = extended_words(answer);
    lodge_error_errno(error, request->result, "%s", request->what);
    if (words != NULL) {
        g_autofree char *message = g_strdup_printf("%s (%s)", (*error)->message, words);
        g_free((*error)->message);
        (*error)->message = g_steal_pointer(&message);
    }
}

static gboolean
await_answers(LodgeNetlink *netlink, guint missing, GError **first, GError **error)
{
    while (missing > 0) {
        gssize got = receive(netlink, error);
        if (got < 0) {
            return FALSE;
        }
        int left = (int)got;
        struct nlmsghdr *answer = (struct nlmsghdr *)(gpointer)netlink->buffer;
        for (; nlmsg_ok(answer, left); answer = nlmsg_next(answer, &left)) {
            take_answer(netlink, answer, &missing, first);
        }
    }
    return TRUE;
}

static gboolean
send_part(LodgeNetlink *netlink, guint from, guint to, GError **first, GError **error)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    static const guint8 padding[NLMSG_ALIGNTO];
    for (guint i = from; i < to; i++) {
        const Request *request = netlink->batch->pdata[i];
        const struct nlmsghdr *header = nlmsg_hdr(request->message);
        g_byte_array_append(bytes, (const guint8 *)header, header->nlmsg_len);
        g_byte_array_append(bytes, padding, NLMSG_ALIGN(header->nlmsg_len) - header->nlmsg_len);
    }
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    if (sendto(netlink->fd, bytes->data, bytes->len, 0, (struct sockaddr *)&kernel,
               sizeof kernel) != (gssize)bytes->len) {
        return lodge_error_errno(error, errno, "Asking the kernel");
    }
    return await_answers(netlink, to - from, first, error);
}

gboolean
lodge_netlink_send(LodgeNetlink *netlink, GError **error)
{
    g_autoptr(GError) first = NULL;
    gboolean fine = TRUE;
    for (guint from = 0; fine && from < netlink->batch->len; from += PART_LIMIT) {
        guint to = MIN(from + PART_LIMIT, netlink->batch->len);
        fine = send_part(netlink, from, to, &first, error);
    }
    netlink->sequence += netlink->batch->len;
    g_ptr_array_set_size(netlink->batch, 0);
    if (fine && first != NULL) {
        g_propagate_error(error, g_steal_pointer(&first));
        return FALSE;
    }
    return fine;
}

/* The header that each kind of question wants, all zero but for the family. */
static gsize
header_size(int type)
{
    switch (type) {
    case RTM_GETLINK:
        return sizeof(struct ifinfomsg);
    case RTM_GETADDR:
        return sizeof(struct ifaddrmsg);
    case RTM_GETNEIGH:
        return sizeof(struct ndmsg);
    default:
        return sizeof(struct rtmsg);
    }
}

typedef struct {
    struct nlmsghdr header;
    guint8 body[64];
} Question;

/* Send it, and give each message of the answer to @take: until the end of a table, else one. */
static gboolean
ask(LodgeNetlink *netlink, Question *question, LodgeNetlinkFunc take, gpointer data, GError **error)
{
    gboolean is_dump = (question->header.nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
    question->header.nlmsg_seq = netlink->sequence++;
    if (send(netlink->fd, question, question->header.nlmsg_len, 0) < 0) {
        return lodge_error_errno(error, errno, "Asking the kernel");
    }
    for (;;) {
        gssize got = receive(netlink, error);
        if (got < 0) {
            return FALSE;
        }
        int left = (int)got;
        struct nlmsghdr *answer = (struct nlmsghdr *)(gpointer)netlink->buffer;
        for (; nlmsg_ok(answer, left); answer = nlmsg_next(answer, &left)) {
            if (answer->nlmsg_seq != question->header.nlmsg_seq) {
                continue;
            }
            if (answer->nlmsg_type == NLMSG_DONE) {
                return TRUE;
            }
            if (answer->nlmsg_type == NLMSG_ERROR) {
                struct nlmsgerr *problem = nlmsg_data(answer);
                return lodge_error_errno(error, -problem->error, "Asking the kernel");
            }
            take(answer, data);
            if (!is_dump) {
                return TRUE;
            }
        }
    }
}

gboolean
lodge_netlink_dump(LodgeNetlink *netlink, int type, int family, LodgeNetlinkFunc take,
                   gpointer data, GError **error)
{
    Question question = {.header = {.nlmsg_len = (guint32)(NLMSG_HDRLEN + header_size(type)),
                                    .nlmsg_type = (guint16)type,
                                    .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP}};
    question.body[0] = (guint8)family;
    return ask(netlink, &question, take, data, error);
}

gboolean
lodge_netlink_link(LodgeNetlink *netlink, int index, LodgeNetlinkFunc take, gpointer data,
                   GError **error)
{
    const struct ifinfomsg head = {.ifi_family = AF_UNSPEC, .ifi_index = index};
    Question question = {.header = {.nlmsg_len = NLMSG_HDRLEN + sizeof head,
                                    .nlmsg_type = RTM_GETLINK,
                                    .nlmsg_flags = NLM_F_REQUEST}};
    memcpy(question.body, &head, sizeof head);
    return ask(netlink, &question, take, data, error);
}
