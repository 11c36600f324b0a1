/* lodge-agent: what Lodge has in its guests.
 *
 * Theory of operation
 *
 * One process waits on all ports with epoll. The control port it serves itself. When a session port
 * has something to read, it forks a process that has that port until the host hangs up; meanwhile
 * the port is not watched. So an idle guest has one small process, and a conversation that goes
 * wrong takes nothing along.
 *
 * A port whose host side is closed says POLLHUP for as long as that lasts. So it is watched for
 * edges: the kernel wakes waiters when the host opens or closes it.
 *
 * SIGTERM ends this process and no session: a conversation that upgrades the agent must survive
 * that. The new agent finds such a port busy, and tries again until it is free. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/control.h"
#include "agent/netlink.h"
#include "agent/ports.h"
#include "agent/session.h"
#include "agent/settle.h"

enum {
    RETRY_MS = 1000,
    LOOK_MS = 30 * 1000,   /* should an event be lost */
    BURST_MS = 50,         /* addresses come in bursts */
    SETTLE_MS = 20 * 1000, /* many may be made at once: first all of them answer */
    EVENT_SIGNALS = PORT_COUNT,
    EVENT_DEVICES,
    EVENT_NETWORK,
    EVENT_CONTROL, /* in tests: the control port's connection */
};

typedef struct {
    Port ports[PORT_COUNT];
    PortsState ports_state;
    Control control;
    int control_fd; /* in tests: the connection */
    int epoll_fd;
    int signal_fd;
    int devices_fd;
    int network_fd;
    int64_t tell_at_ms;   /* when to look at the addresses; -1: they did not change */
    int64_t settle_at_ms; /* -1: there is nothing to settle */
    bool ends;
} Agent;

static void
watch(const Agent *agent, int fd, uint32_t events, uint32_t what)
{
    struct epoll_event event = {.events = events, .data.u32 = what};
    if (fd >= 0 && epoll_ctl(agent->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
        complain("watching a descriptor: %s", strerror(errno));
    }
}

static void
watch_port(const Agent *agent, unsigned number)
{
    uint32_t events = number == 0 ? EPOLLIN | EPOLLOUT | EPOLLET : EPOLLIN | EPOLLET;
    if (settings.port_dir != NULL) {
        events = EPOLLIN;
    }
    watch(agent, agent->ports[number].fd, events, number);
}

static void
open_ports(Agent *agent)
{
    bool was_open[PORT_COUNT];
    for (unsigned i = 0; i < PORT_COUNT; i++) {
        was_open[i] = agent->ports[i].fd >= 0;
    }
    agent->ports_state = ports_open(agent->ports);
    for (unsigned i = 0; i < PORT_COUNT; i++) {
        if (was_open[i] || agent->ports[i].fd < 0) {
            continue;
        }
        if (settings.port_dir == NULL) {
            /* A host that talked to the agent before us must learn that it is gone. */
            Link link;
            if (link_init(&link, agent->ports[i].fd, true)) {
                link_announce(&link);
            }
            link_clear(&link);
            if (i == 0) {
                control_use(&agent->control, agent->ports[0].fd);
            }
        }
        watch_port(agent, i);
    }
}

/* The device went, or is stuck: let go of it, and look for it again. */
static void
close_port(Agent *agent, unsigned number)
{
    epoll_ctl(agent->epoll_fd, EPOLL_CTL_DEL, agent->ports[number].fd, NULL);
    close(agent->ports[number].fd);
    agent->ports[number].fd = -1;
    agent->ports_state = PORTS_BUSY; /* it may come back at once */
}

static bool
is_gone(int fd)
{
    char byte;
    return read(fd, &byte, 0) < 0 && errno == ENODEV;
}

/* --- Sessions -------------------------------------------------------------------------------- */

static void
become_session(Agent *agent, unsigned number, int fd)
{
    for (unsigned i = 0; i < PORT_COUNT; i++) {
        if (agent->ports[i].fd >= 0 && agent->ports[i].fd != fd) {
            close(agent->ports[i].fd);
        }
    }
    close(agent->epoll_fd);
    if (agent->devices_fd >= 0) {
        close(agent->devices_fd);
    }
    if (agent->network_fd >= 0) {
        close(agent->network_fd);
    }
    if (agent->control_fd >= 0) {
        close(agent->control_fd);
    }
    link_clear(&agent->control.link);
    session_run(fd, agent->signal_fd);
    (void)number;
    _exit(0);
}

static void
start_session(Agent *agent, unsigned number)
{
    Port *port = &agent->ports[number];
    int fd = port->fd;
    if (settings.port_dir != NULL) {
        fd = accept4(port->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            return;
        }
    }
    port->session = fork();
    if (port->session == 0) {
        become_session(agent, number, fd);
    }
    if (fd != port->fd) {
        close(fd);
    }
    if (port->session < 0) {
        complain("no process for a session: %s", strerror(errno));
        port->session = 0;
        return;
    }
    epoll_ctl(agent->epoll_fd, EPOLL_CTL_DEL, port->fd, NULL);
}

static void
end_session(Agent *agent, unsigned number, int status)
{
    Port *port = &agent->ports[number];
    port->session = 0;
    if (WIFSIGNALED(status)) {
        complain("a session was ended by signal %d", WTERMSIG(status));
        if (settings.port_dir == NULL) {
            Link link;
            if (link_init(&link, port->fd, true)) {
                link_announce(&link); /* its host is still there */
            }
            link_clear(&link);
        }
    }
    if (settings.port_dir == NULL && is_gone(port->fd)) {
        close(port->fd);
        port->fd = -1;
        agent->ports_state = PORTS_BUSY; /* it may come back at once */
        return;
    }
    watch_port(agent, number);
}

static void
reap(Agent *agent)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (unsigned i = 0; i < PORT_COUNT; i++) {
            if (agent->ports[i].session == pid) {
                end_session(agent, i, status);
            }
        }
    }
}

/* --- Events ---------------------------------------------------------------------------------- */

static void
take_signals(Agent *agent)
{
    struct signalfd_siginfo signal;
    while (read(agent->signal_fd, &signal, sizeof signal) == (ssize_t)sizeof signal) {
        if (signal.ssi_signo == SIGCHLD) {
            reap(agent);
        } else if (signal.ssi_signo == SIGUSR1) { /* settle_ask() */
            agent->settle_at_ms = now_ms() + SETTLE_MS;
        } else {
            agent->ends = true;
        }
    }
}

static void
take_network(Agent *agent)
{
    char news[8192];
    while (recv(agent->network_fd, news, sizeof news, 0) >= 0 || errno == ENOBUFS) {
    }
    if (agent->tell_at_ms < 0) {
        agent->tell_at_ms = now_ms() + BURST_MS;
    }
}

/* In tests, the control port's events depend on whether there is something to send. */
static void
watch_control(Agent *agent)
{
    if (agent->control_fd >= 0) {
        struct epoll_event event = {.events = (uint32_t)link_events(&agent->control.link),
                                    .data.u32 = EVENT_CONTROL};
        epoll_ctl(agent->epoll_fd, EPOLL_CTL_MOD, agent->control_fd, &event);
    }
}

static void
work_control(Agent *agent)
{
    if (control_work(&agent->control)) {
        watch_control(agent);
    } else if (agent->control_fd >= 0) {
        close(agent->control_fd);
        agent->control_fd = -1;
        control_use(&agent->control, -1);
        watch_port(agent, 0);
    } else {
        close_port(agent, 0); /* the device is gone */
        control_use(&agent->control, -1);
    }
}

static void
accept_control(Agent *agent)
{
    int fd = accept4(agent->ports[0].fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        return;
    }
    epoll_ctl(agent->epoll_fd, EPOLL_CTL_DEL, agent->ports[0].fd, NULL);
    agent->control_fd = fd;
    control_use(&agent->control, fd);
    watch(agent, fd, EPOLLIN, EVENT_CONTROL);
}

static void
take_port(Agent *agent, unsigned number, uint32_t events)
{
    if (number == 0) {
        if (settings.port_dir != NULL) {
            accept_control(agent);
        } else {
            work_control(agent);
        }
    } else if ((events & EPOLLHUP) != 0) {
        /* Nobody there (a closed port is always readable), or no port any more. */
        if (is_gone(agent->ports[number].fd)) {
            close_port(agent, number);
        }
    } else if ((events & EPOLLIN) != 0 && agent->ports[number].session == 0) {
        start_session(agent, number);
    }
}

static void
take_event(Agent *agent, const struct epoll_event *event)
{
    switch (event->data.u32) {
    case EVENT_SIGNALS:
        take_signals(agent);
        break;
    case EVENT_DEVICES:
        if (ports_watch_take(agent->devices_fd)) {
            open_ports(agent);
        }
        break;
    case EVENT_NETWORK:
        take_network(agent);
        break;
    case EVENT_CONTROL:
        work_control(agent);
        break;
    default: /* a port's number */
        take_port(agent, event->data.u32, event->events);
        break;
    }
}

/* The sooner of @timeout_ms and a time, -1 meaning never. */
static int64_t
sooner(int64_t timeout_ms, int64_t at_ms)
{
    if (at_ms < 0) {
        return timeout_ms;
    }
    int64_t left_ms = at_ms - now_ms();
    left_ms = left_ms < 0 ? 0 : left_ms;
    return timeout_ms < 0 || left_ms < timeout_ms ? left_ms : timeout_ms;
}

static int
timeout_ms(const Agent *agent)
{
    int64_t timeout = agent->ports_state == PORTS_BUSY     ? RETRY_MS
                      : agent->ports_state == PORTS_ABSENT ? LOOK_MS
                                                           : -1;
    return (int)sooner(sooner(timeout, agent->tell_at_ms), agent->settle_at_ms);
}

static void
run(Agent *agent)
{
    open_ports(agent);
    work_control(agent);
    while (!agent->ends) {
        struct epoll_event events[PORT_COUNT + 4];
        int count = epoll_wait(agent->epoll_fd, events, COUNT(events), timeout_ms(agent));
        for (int i = 0; i < count; i++) {
            take_event(agent, &events[i]);
        }
        if (agent->settle_at_ms >= 0 && now_ms() >= agent->settle_at_ms) {
            agent->settle_at_ms = -1;
            settle();
        }
        if (agent->tell_at_ms >= 0 && now_ms() >= agent->tell_at_ms) {
            agent->tell_at_ms = -1;
            agent->control.addresses_changed = true;
            work_control(agent);
        } else if (count == 0 && agent->ports_state != PORTS_ALL) {
            open_ports(agent);
        }
    }
}

/* --- Start ----------------------------------------------------------------------------------- */

static bool
begin(Agent *agent)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGUSR1);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    agent->signal_fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    agent->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    agent->devices_fd = ports_watch();
    agent->network_fd = netlink_open(RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR);
    if (agent->signal_fd < 0 || agent->epoll_fd < 0 || !control_init(&agent->control)) {
        complain("starting: %s", strerror(errno));
        return false;
    }
    watch(agent, agent->signal_fd, EPOLLIN, EVENT_SIGNALS);
    watch(agent, agent->devices_fd, EPOLLIN, EVENT_DEVICES);
    watch(agent, agent->network_fd, EPOLLIN, EVENT_NETWORK);
    return true;
}

static const struct option options[] = {
    {"port-dir", required_argument, NULL, 'p'},
    {"root", required_argument, NULL, 'r'},
    {"dry", no_argument, NULL, 'd'},
    {"version", no_argument, NULL, 'v'},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static const char usage[] =
    "Usage: lodge-agent [--port-dir DIR] [--root DIR] [--dry]\n"
    "Answers the host on the virtio-serial ports " PORT_NAME "0 to 7.\n"
    "  --port-dir DIR  make Unix sockets there instead, for tests\n"
    "  --root DIR      the files of the guest's identity are below it, for tests\n"
    "  --dry           leave the kernel's clock, name, NICs and power as they are, for tests\n";

int
main(int argc, char **argv)
{
    static Agent agent = {.control_fd = -1, .tell_at_ms = -1, .settle_at_ms = -1};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'p':
            settings.port_dir = optarg;
            break;
        case 'r':
            settings.root = optarg;
            break;
        case 'd':
            settings.dry = true;
            break;
        case 'v':
            puts("lodge-agent " LODGE_VERSION);
            return 0;
        case 'h':
            fputs(usage, stdout);
            return 0;
        default:
            fputs(usage, stderr);
            return 2;
        }
    }
    for (unsigned i = 0; i < PORT_COUNT; i++) {
        agent.ports[i].fd = -1;
    }
    if (!begin(&agent)) {
        return 1;
    }
    settle_begin();
    run(&agent);
    return 0;
}
