/* The least of DHCPv4, DNS and ICMP that proves that somebody answers. Clients that one could run
 * are not on every host (dhclient is given up, udhcpc is busybox's), and want scripts and files. */
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/base.h"
#include "net/probe-private.h"

enum {
    TRIES = 3,
    TRY_MS = 800,
    CLIENT_PORT = 68,
    SERVER_PORT = 67,
    DNS_PORT = 53,
    DISCOVER = 1,
    OFFER = 2,
    REQUEST = 3,
    ACK = 5,
    NAK = 6,
    RELEASE = 7,
    HEAD_BYTES = 240, /* of BOOTP, and the magic */
};

typedef struct {
    guint8 bytes[576];
    gsize length;
} Message;

static void
put(Message *message, const void *bytes, gsize length)
{
    memcpy(message->bytes + message->length, bytes, length);
    message->length += length;
}

static void
put_option(Message *message, guint8 code, const void *bytes, guint8 length)
{
    guint8 head[] = {code, length};
    put(message, head, sizeof head);
    put(message, bytes, length);
}

static void
begin_dhcp(Message *message, guint8 type, const char *mac, guint32 id)
{
    static const guint8 magic[] = {0x63, 0x82, 0x53, 0x63};
    memset(message, 0, sizeof *message);
    guint8 *bytes = message->bytes;
    bytes[0] = 1; /* a request */
    bytes[1] = 1; /* Ethernet, */
    bytes[2] = 6; /* whose addresses are so long */
    memcpy(bytes + 4, &id, sizeof id);
    bytes[10] = type == RELEASE ? 0 : 0x80; /* answer to all: we have no address yet */
    for (gsize i = 0; i < 6; i++) {
        bytes[28 + i] = (guint8)g_ascii_strtoull(mac + 3 * i, NULL, 16);
    }
    memcpy(bytes + 236, magic, sizeof magic);
    message->length = HEAD_BYTES;
    put_option(message, 53, &type, 1);
}

static gboolean
find_option(const Message *message, guint8 code, const guint8 **out_bytes, gsize least)
{
    for (gsize at = HEAD_BYTES; at + 1 < message->length && message->bytes[at] != 255;) {
        if (message->bytes[at] == 0) {
            at++;
            continue;
        }
        gsize length = message->bytes[at + 1];
        if (at + 2 + length > message->length) {
            return FALSE;
        }
        if (message->bytes[at] == code && length >= least) {
            *out_bytes = message->bytes + at + 2;
            return TRUE;
        }
        at += 2 + length;
    }
    return FALSE;
}

static LodgePrefix
address4(const guint8 *bytes)
{
    LodgePrefix address = {.family = AF_INET, .length = 32};
    memcpy(address.bytes, bytes, 4);
    return address;
}

/* Wait for an answer to @id; its type, or -1 with TIMEOUT. */
static int
await_dhcp(int fd, guint32 id, gint64 timeout_ms, Message *out_answer, GError **error)
{
    gint64 deadline = lodge_deadline_in(timeout_ms);
    const guint8 *type = NULL;
    while (lodge_wait_fd(fd, POLLIN, deadline, error)) {
        gssize got = recv(fd, out_answer->bytes, sizeof out_answer->bytes, MSG_DONTWAIT);
        out_answer->length = got > 0 ? (gsize)got : 0;
        if (got >= HEAD_BYTES && out_answer->bytes[0] == 2 &&
            memcmp(out_answer->bytes + 4, &id, sizeof id) == 0 &&
            find_option(out_answer, 53, &type, 1)) {
            return *type;
        }
    }
    return -1;
}

static gboolean
send_to(int fd, const Message *message, const LodgePrefix *target, guint16 port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 to6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    memcpy(&to.sin_addr, target->bytes, 4);
    memcpy(&to6.sin6_addr, target->bytes, 16);
    gboolean is_ipv6 = target->family == AF_INET6;
    return sendto(fd, message->bytes, message->length, 0,
                  is_ipv6 ? (struct sockaddr *)&to6 : (struct sockaddr *)&to,
                  is_ipv6 ? sizeof to6 : sizeof to) == (gssize)message->length;
}

/* Send until somebody answers. */
static int
exchange(int fd, const Message *message, guint32 id, Message *out_answer, GError **error)
{
    static const LodgePrefix everybody = {AF_INET, {255, 255, 255, 255}, 32};
    /* The first may come before the bridge has noticed its new port. */
    static const gint64 patience_ms[] = {100, 200, 500, 1000, 2000};
    for (gsize i = 0; i < G_N_ELEMENTS(patience_ms); i++) {
        g_autoptr(GError) problem = NULL;
        if (!send_to(fd, message, &everybody, SERVER_PORT)) {
            lodge_error_errno(error, errno, "sending a DHCP request");
            return -1;
        }
        int type = await_dhcp(fd, id, patience_ms[i], out_answer, &problem);
        if (type >= 0) {
            return type;
        }
        if (!g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_TIMEOUT)) {
            g_propagate_error(error, g_steal_pointer(&problem));
            return -1;
        }
    }
    lodge_error_set(error, LODGE_ERROR_TIMEOUT, "no DHCP server answers");
    return -1;
}

static int
open_dhcp(const char *link, GError **error)
{
    lodge_autofd fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(CLIENT_PORT)};
    int yes = 1;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &yes, sizeof yes) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, link, (socklen_t)strlen(link)) < 0 ||
        bind(fd, (struct sockaddr *)&any, sizeof any) < 0) {
        lodge_error_errno(error, errno, "opening a DHCP client's socket");
        return -1;
    }
    return lodge_fd_steal(&fd);
}

static void
read_offer(const Message *answer, LodgeProbeOffer *offer)
{
    const guint8 *bytes = NULL;
    offer->address = address4(answer->bytes + 16);
    if (find_option(answer, 1, &bytes, 4)) {
        guint32 mask;
        memcpy(&mask, bytes, sizeof mask);
        offer->address.length = (guint)__builtin_popcount(mask);
    }
    if (find_option(answer, 54, &bytes, 4)) {
        offer->server = address4(bytes);
    }
    if (find_option(answer, 3, &bytes, 4)) {
        offer->router = address4(bytes);
    }
    if (find_option(answer, 6, &bytes, 4)) {
        offer->dns = address4(bytes);
    }
}

gboolean
lodge_probe_dhcp(const char *link, const char *mac, LodgeProbeOffer *out_offer, GError **error)
{
    static const guint8 wanted[] = {1, 3, 6};
    static const guint8 end = 255;
    guint32 id = g_random_int();
    Message message;
    Message answer;
    LodgeProbeOffer offer = {0};
    lodge_autofd fd = open_dhcp(link, error);
    if (fd < 0) {
        return FALSE;
    }
    begin_dhcp(&message, DISCOVER, mac, id);
    put_option(&message, 55, wanted, sizeof wanted);
    put(&message, &end, 1);
    int type = exchange(fd, &message, id, &answer, error);
    if (type != OFFER) {
        return type < 0 ? FALSE
                        : lodge_error_set(error, LODGE_ERROR_FAILED, "the DHCP server refuses");
    }
    read_offer(&answer, &offer);
    begin_dhcp(&message, REQUEST, mac, id);
    put_option(&message, 50, offer.address.bytes, 4);
    put_option(&message, 54, offer.server.bytes, 4);
    put_option(&message, 55, wanted, sizeof wanted);
    put(&message, &end, 1);
    type = exchange(fd, &message, id, &answer, error);
    if (type != ACK) {
        return type < 0 ? FALSE
                        : lodge_error_set(error, LODGE_ERROR_FAILED,
                                          "the DHCP server offers an address, and then refuses it");
    }
    read_offer(&answer, &offer);
    *out_offer = offer;
    return TRUE;
}

void
lodge_probe_dhcp_release(const char *mac, const LodgeProbeOffer *offer)
{
    static const guint8 end = 255;
    Message message;
    lodge_autofd fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    begin_dhcp(&message, RELEASE, mac, g_random_int());
    memcpy(message.bytes + 12, offer->address.bytes, 4);
    put_option(&message, 54, offer->server.bytes, 4);
    put(&message, &end, 1);
    send_to(fd, &message, &offer->server, SERVER_PORT);
}

/* --- DNS -----------------------------------------------------------------------------------------
 */

static void
make_question(Message *message, guint16 id, const char *name, guint16 type)
{
    guint16 head[6] = {htons(id), htons(0x0100), htons(1), 0, 0, 0};
    guint16 tail[2] = {htons(type), htons(1)};
    g_auto(GStrv) labels = g_strsplit(name, ".", -1);
    memset(message, 0, sizeof *message);
    put(message, head, sizeof head);
    for (gsize i = 0; labels[i] != NULL; i++) {
        guint8 length = (guint8)MIN(strlen(labels[i]), 63);
        if (length > 0) {
            put(message, &length, 1);
            put(message, labels[i], length);
        }
    }
    put(message, "", 1);
    put(message, tail, sizeof tail);
}

gboolean
lodge_probe_dns(const LodgePrefix *server, const char *name, guint16 type, int *out_code,
                GError **error)
{
    lodge_autofd fd = socket(server->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    guint16 id = (guint16)g_random_int();
    Message message;
    make_question(&message, id, name, type);
    for (guint i = 0; i < TRIES; i++) {
        Message answer;
        g_autoptr(GError) problem = NULL;
        if (fd < 0 || !send_to(fd, &message, server, DNS_PORT)) {
            return lodge_error_errno(error, errno, "asking the DNS server");
        }
        if (!lodge_wait_fd(fd, POLLIN, lodge_deadline_in(TRY_MS), &problem)) {
            continue;
        }
        gssize got = recv(fd, answer.bytes, sizeof answer.bytes, MSG_DONTWAIT);
        if (got < 0) {
            return lodge_error_errno(error, errno, "hearing the DNS server");
        }
        if (got >= 12 && answer.bytes[0] == id >> 8 && answer.bytes[1] == (id & 0xff)) {
            *out_code = answer.bytes[3] & 0xf;
            return TRUE;
        }
    }
    return lodge_error_set(error, LODGE_ERROR_TIMEOUT, "it does not answer");
}

/* --- Echo ----------------------------------------------------------------------------------------
 */

static void
make_echo(Message *message, gboolean is_ipv6, guint16 id)
{
    struct icmphdr head = {.type = is_ipv6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO};
    head.un.echo.id = htons(id);
    head.un.echo.sequence = htons(1);
    guint32 sum = (guint32)head.type << 8;
    sum += id + 1u;
    sum = (sum & 0xffff) + (sum >> 16);
    /* The kernel sums up IPv6's. */
    head.checksum = is_ipv6 ? 0 : htons((guint16)~sum);
    memset(message, 0, sizeof *message);
    put(message, &head, sizeof head);
    message->length = 32; /* the rest are zeros, which change no sum */
}

static gboolean
is_echo(const guint8 *bytes, gssize length, gboolean is_ipv6, guint16 id)
{
    struct icmphdr head;
    gsize skipped = is_ipv6 || length < 1 ? 0 : (gsize)(bytes[0] & 0xf) * 4;
    if (length < (gssize)(skipped + sizeof head)) {
        return FALSE;
    }
    memcpy(&head, bytes + skipped, sizeof head);
    return head.type == (is_ipv6 ? ICMP6_ECHO_REPLY : ICMP_ECHOREPLY) &&
           head.un.echo.id == htons(id);
}

gboolean
lodge_probe_ping(const LodgePrefix *target, gint64 *out_us, GError **error)
{
    gboolean is_ipv6 = target->family == AF_INET6;
    lodge_autofd fd = socket(target->family, SOCK_RAW | SOCK_CLOEXEC,
                             is_ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
    guint16 id = (guint16)g_random_int();
    Message message;
    make_echo(&message, is_ipv6, id);
    for (guint i = 0; i < TRIES; i++) {
        gint64 began = g_get_monotonic_time();
        gint64 deadline = lodge_deadline_in(TRY_MS);
        if (fd < 0 || !send_to(fd, &message, target, 0)) {
            return lodge_error_errno(error, errno, "sending a ping");
        }
        while (lodge_wait_fd(fd, POLLIN, deadline, NULL)) {
            guint8 bytes[512];
            gssize got = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
            if (is_echo(bytes, got, is_ipv6, id)) {
                *out_us = g_get_monotonic_time() - began;
                return TRUE;
            }
        }
        if (!lodge_interrupt_check(error)) {
            return FALSE;
        }
    }
    return lodge_error_set(error, LODGE_ERROR_TIMEOUT, "it does not answer");
}
