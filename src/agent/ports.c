/* Theory of operation
 *
 * A port is found by the name that the kernel writes to /sys/class/virtio-ports/vport<x>p<y>/name,
 * so no udev is needed; its device is /dev/vport<x>p<y>. The name comes after the device, with a
 * "change" event, so the kernel's own events are listened to. A port has one opener; an agent that
 * was replaced may still have a session on it: then it is tried again later. */
#include "agent/ports.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/agent.h"

#define CLASS_FOLDER "/sys/class/virtio-ports"

/* Which of our ports is the device called @device? -1: none. */
static int
port_number(const char *device)
{
    char path[300], name[64];
    snprintf(path, sizeof path, CLASS_FOLDER "/%s/name", device);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    ssize_t length = read(fd, name, sizeof name - 1);
    close(fd);
    name[length < 0 ? 0 : length] = '\0';
    name[strcspn(name, "\n")] = '\0';
    size_t prefix = strlen(PORT_NAME);
    if (strncmp(name, PORT_NAME, prefix) != 0 || name[prefix] < '0' ||
        name[prefix] >= '0' + PORT_COUNT || name[prefix + 1] != '\0') {
        return -1;
    }
    return name[prefix] - '0';
}

/* True: one is open elsewhere. */
static bool
open_devices(Port ports[PORT_COUNT])
{
    bool is_busy = false;
    DIR *folder = opendir(CLASS_FOLDER);
    struct dirent *entry;
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        char path[300];
        int number = entry->d_name[0] != '.' ? port_number(entry->d_name) : -1;
        if (number >= 0 && ports[number].fd < 0) {
            snprintf(path, sizeof path, "/dev/%s", entry->d_name);
            ports[number].fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
            is_busy |= ports[number].fd < 0;
        }
    }
    if (folder != NULL) {
        closedir(folder);
    }
    return is_busy;
}

static int
listen_at(unsigned number)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int length = snprintf(address.sun_path, sizeof address.sun_path, "%s/" PORT_SOCKET,
                          settings.port_dir, number);
    if (length < 0 || (size_t)length >= sizeof address.sun_path) {
        return -1;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    unlink(address.sun_path);
    if (fd >= 0 &&
        (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 8) < 0)) {
        close(fd);
        return -1;
    }
    return fd;
}

PortsState
ports_open(Port ports[PORT_COUNT])
{
    bool is_busy = settings.port_dir == NULL && open_devices(ports);
    bool is_absent = false;
    for (unsigned i = 0; i < PORT_COUNT; i++) {
        if (ports[i].fd < 0 && settings.port_dir != NULL) {
            ports[i].fd = listen_at(i);
        }
        is_absent |= ports[i].fd < 0;
    }
    return is_busy ? PORTS_BUSY : is_absent ? PORTS_ABSENT : PORTS_ALL;
}

int
ports_watch(void)
{
    struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = 1};
    int fd = settings.port_dir != NULL
                 ? -1
                 : socket(AF_NETLINK, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
                          NETLINK_KOBJECT_UEVENT);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

bool
ports_watch_take(int fd)
{
    char text[4096];
    bool concerns = false;
    for (;;) {
        ssize_t length = recv(fd, text, sizeof text - 1, 0);
        if (length < 0) {
            /* Some were lost: any of them may have been ours. */
            return concerns || errno == ENOBUFS;
        }
        text[length] = '\0';
        concerns |= strstr(text, "/virtio-ports/") != NULL;
    }
}
