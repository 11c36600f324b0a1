/* One port's conversation as frames: bounded buffers, resynchronization, and never deaf while it
 * waits. See protocol.h for the rules. */
#pragma once

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/protocol.h"

typedef enum {
    LINK_IDLE, /* no conversation: all is dropped until MAGIC */
    LINK_OPEN,
    LINK_GREETED, /* MAGIC came: what was under way is over, link_greet() begins the next */
    LINK_CLOSED,  /* the host hung up, or we were told to end */
} LinkState;

typedef struct {
    int fd;
    int signal_fd; /* -1: none. SIGCHLD sets child_ended, others close the link */
    bool child_ended;
    bool is_port; /* a virtio-serial port, where a hang-up may be an old one; else a socket */
    int edge_fd;  /* tells when the port's host side opens again */
    int64_t hung_up_at_ms; /* -1: the host side is open, as far as we know */
    LinkState state;
    uint8_t *input; /* from `start`, `length` bytes; a frame begins there */
    size_t input_start;
    size_t input_length;
    uint8_t *output;
    size_t output_start;
    size_t output_length;
    uint8_t nonce[NONCE_BYTES];
} Link;

typedef struct {
    uint8_t type;
    uint32_t length;
    const uint8_t *payload; /* until link_pop() */
} Frame;

/* @fd must not block; it stays the caller's. False if there is no memory. */
bool link_init(Link *link, int fd, bool is_port);
void link_clear(Link *link);

/* Say that a new agent serves this port. */
void link_announce(Link *link);

/* In LINK_GREETED: take the HELLO if it has come whole, and answer it. True: the state is
 * LINK_OPEN, a conversation has begun. */
bool link_greet(Link *link, const char *version);

/* Read what is there, once. Changes the state. */
void link_read(Link *link);

/* The first frame, if it is there whole and the link is open. */
bool link_frame(Link *link, Frame *out_frame);
void link_pop(Link *link);

/* Send what the port takes. */
void link_flush(Link *link);
bool link_has_unsent(const Link *link);

/* What to wait for: reading if there is room, writing if there is something. */
short link_events(const Link *link);

/* Wait for the port or one of @others (up to 4), until @deadline_ms of now_ms() (-1: none); then
 * read and send what can be. True if the link is still open; look at the others' revents. */
bool link_wait(Link *link, struct pollfd *others, unsigned count, int64_t deadline_ms);

/* Take what signal_fd says. */
void link_take_signals(Link *link);

/* Room for the payload of one frame of FRAME_LIMIT bytes, if nothing is unsent; NULL otherwise. */
uint8_t *link_room(Link *link);
/* Send @length bytes that were put there. Parts them where MAGIC stands in them. */
void link_commit(Link *link, uint8_t type, size_t length);

/* Queue a small frame; waits for room if it must. False if the link is no longer open, or the
 * payload has MAGIC in it or is too long. */
bool link_send(Link *link, uint8_t type, const void *payload, size_t length);

/* FAILED with the problem that @error_number stands for, and "<what>: <strerror>". */
bool link_fail_errno(Link *link, int error_number, const char *what);
bool link_fail(Link *link, Problem problem, const char *text);
Problem problem_of_errno(int error_number);
