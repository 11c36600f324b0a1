#include "config.h"

#include "keeper/ports.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/base.h"
#include "host/system.h"

enum {
    FIRST_PORT = 20000, /* below the kernel's ephemeral ports, which begin at 32768 */
    PORT_COUNT = 12000,
    UNPRIVILEGED_START = 1024, /* unless a sysctl says so */
};

static gboolean
can_bind(const char *address, guint port, gboolean udp)
{
    struct sockaddr_in wanted = {.sin_family = AF_INET, .sin_port = htons((guint16)port)};
    if (inet_pton(AF_INET, address, &wanted.sin_addr) != 1) {
        return FALSE;
    }
    lodge_autofd fd = socket(AF_INET, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
    int yes = 1;
    return fd >= 0 && (udp || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0) &&
           bind(fd, (struct sockaddr *)&wanted, sizeof wanted) == 0 && (udp || listen(fd, 1) == 0);
}

/* An abstract socket's name is unique in the network namespace, and vanishes with its holder: a
 * lock that keepers of all users and stores share, with no file to leave behind. */
static int
reserve(guint port)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int length = g_snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "lodge/port/%u",
                            port);
    lodge_autofd fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t size = (socklen_t)offsetof(struct sockaddr_un, sun_path) + 1 + (socklen_t)length;
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) < 0) {
        return -1;
    }
    return lodge_fd_steal(&fd);
}

guint
lodge_port_choose(const char *guest_folder, int *out_reservation, GError **error)
{
    guint preferred = g_str_hash(guest_folder) % PORT_COUNT;
    for (guint i = 0; i < PORT_COUNT; i++) {
        guint port = FIRST_PORT + (preferred + i) % PORT_COUNT;
        lodge_autofd reservation = reserve(port);
        if (reservation >= 0 && can_bind("127.0.0.1", port, FALSE)) {
            *out_reservation = lodge_fd_steal(&reservation);
            return port;
        }
    }
    lodge_error_set(error, LODGE_ERROR_BUSY, "no port of 127.0.0.1 from %d to %d is free",
                    FIRST_PORT, FIRST_PORT + PORT_COUNT - 1);
    return 0;
}

static gboolean
check_port(const LodgeNic *nic, const char *address, guint port, gboolean udp, GError **error)
{
    gint64 first = lodge_system_number("", "/proc/sys/net/ipv4/ip_unprivileged_port_start",
                                       UNPRIVILEGED_START);
    if (port < first) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "nic %s: port %u of the host is below %" G_GINT64_FORMAT
                               ", and QEMU runs without the privilege to listen there (forward a "
                               "higher one, or `sysctl net.ipv4.ip_unprivileged_port_start=%u`)",
                               nic->name, port, first, port);
    }
    return can_bind(address, port, udp) ||
           lodge_error_set(error, LODGE_ERROR_BUSY,
                           "nic %s: port %u of %s is in use or not this host's (`ss -lnp sport = "
                           ":%u` shows by whom)",
                           nic->name, port, address, port);
}

gboolean
lodge_ports_check(const LodgeNic *nic, GError **error)
{
    g_autoptr(GPtrArray)
        forwards = lodge_forwards_parse(nic->forward != NULL ? nic->forward : "", error);
    for (guint i = 0; forwards != NULL && i < forwards->len; i++) {
        const LodgeForward *forward = forwards->pdata[i];
        if (!check_port(nic, forward->address, forward->host_port, forward->udp, error)) {
            return FALSE;
        }
    }
    return forwards != NULL &&
           (nic->ssh_port == 0 || check_port(nic, "127.0.0.1", nic->ssh_port, FALSE, error));
}
