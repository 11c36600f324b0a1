#include "config.h"

#include "net/tests/pings.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/base.h"

enum { INTERVAL_NS = 1000000, PATIENCE_MS = 1000, REQUEST_BYTES = 64 };

struct Pings {
    GThread *thread;
    int netns; /* descriptor; -1: stay */
    struct sockaddr_storage target;
    gboolean is_ipv6;
    guint count;
    guint16 id;
    guint16 sent;
    guint8 *answered;
};

static socklen_t
target_length(const Pings *pings)
{
    return pings->is_ipv6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

static guint16
checksum(const guint8 *bytes, gsize length)
{
    guint32 sum = 0;
    for (gsize i = 0; i + 1 < length; i += 2) {
        sum += (guint32)bytes[i] << 8 | bytes[i + 1];
    }
    sum = (sum & 0xffff) + (sum >> 16);
    return htons((guint16) ~((sum & 0xffff) + (sum >> 16)));
}

static void
send_one(Pings *pings, int fd)
{
    /* Both families' requests have the same shape; the kernel sums up IPv6's. */
    guint8 bytes[REQUEST_BYTES] = {0};
    struct icmphdr head = {.type = pings->is_ipv6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO};
    head.un.echo.id = htons(pings->id);
    head.un.echo.sequence = htons(pings->sent);
    memcpy(bytes, &head, sizeof head);
    if (!pings->is_ipv6) {
        head.checksum = checksum(bytes, sizeof bytes);
        memcpy(bytes, &head, sizeof head);
    }
    /* One that can't even be sent is lost. */
    (void)!sendto(fd, bytes, sizeof bytes, 0, (struct sockaddr *)&pings->target,
                  target_length(pings));
    pings->sent++;
}

static guint
take_answers(Pings *pings, int fd)
{
    guint8 bytes[512];
    guint fresh = 0;
    for (gssize got; (got = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT)) >= 0;) {
        gsize skipped = pings->is_ipv6 ? 0 : (gsize)(bytes[0] & 0xf) * 4;
        struct icmphdr head;
        if ((gsize)got < skipped + sizeof head) {
            continue;
        }
        memcpy(&head, bytes + skipped, sizeof head);
        guint16 sequence = ntohs(head.un.echo.sequence);
        if (head.type == (pings->is_ipv6 ? ICMP6_ECHO_REPLY : ICMP_ECHOREPLY) &&
            head.un.echo.id == htons(pings->id) && sequence < pings->sent &&
            !pings->answered[sequence]) {
            pings->answered[sequence] = 1;
            fresh++;
        }
    }
    return fresh;
}

static gpointer
run(gpointer data)
{
    Pings *pings = data;
    g_assert_true(pings->netns < 0 || setns(pings->netns, CLONE_NEWNET) == 0);
    lodge_autofd fd = socket(pings->is_ipv6 ? AF_INET6 : AF_INET, SOCK_RAW | SOCK_CLOEXEC,
                             pings->is_ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
    lodge_autofd timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    int room = 8 << 20;
    struct itimerspec rhythm = {{0, INTERVAL_NS}, {0, INTERVAL_NS}};
    g_assert_cmpint(fd, >=, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    g_assert_cmpint(timerfd_settime(timer, 0, &rhythm, NULL), ==, 0);
    guint answered = 0;
    gint64 deadline = LODGE_NO_DEADLINE;
    while (answered < pings->count && !lodge_deadline_passed(deadline)) {
        struct pollfd polls[] = {{.fd = fd, .events = POLLIN},
                                 {.fd = pings->sent < pings->count ? timer : -1, .events = POLLIN}};
        guint64 ticks;
        g_assert_cmpint(poll(polls, G_N_ELEMENTS(polls), PATIENCE_MS), >=, 0);
        if (polls[1].revents != 0 && read(timer, &ticks, sizeof ticks) > 0) {
            send_one(pings, fd);
            deadline = pings->sent == pings->count ? lodge_deadline_in(PATIENCE_MS) : deadline;
        }
        answered += take_answers(pings, fd);
    }
    return NULL;
}

Pings *
pings_begin(const Netns *netns, const char *target, guint count)
{
    static gint next_id = 1;
    Pings *pings = g_new0(Pings, 1);
    struct sockaddr_in *four = (struct sockaddr_in *)&pings->target;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)&pings->target;
    g_autofree char *path = netns != NULL ? g_strdup_printf("/proc/%d/ns/net", netns->pid) : NULL;
    pings->netns = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    g_assert_true(path == NULL || pings->netns >= 0);
    pings->is_ipv6 = inet_pton(AF_INET6, target, &six->sin6_addr) == 1;
    g_assert_true(pings->is_ipv6 || inet_pton(AF_INET, target, &four->sin_addr) == 1);
    pings->target.ss_family = pings->is_ipv6 ? AF_INET6 : AF_INET;
    pings->count = count;
    pings->id = (guint16)(getpid() * 16 + g_atomic_int_add(&next_id, 1));
    pings->answered = g_new0(guint8, count);
    pings->thread = g_thread_new("pings", run, pings);
    return pings;
}

PingsResult
pings_end(Pings *pings)
{
    g_thread_join(pings->thread);
    PingsResult result = {.sent = pings->sent};
    guint row = 0;
    for (guint i = 0; i < pings->count; i++) {
        row = pings->answered[i] ? 0 : row + 1;
        result.lost += !pings->answered[i];
        result.longest = MAX(result.longest, row);
    }
    lodge_fd_clear(&pings->netns);
    g_free(pings->answered);
    g_free(pings);
    return result;
}
