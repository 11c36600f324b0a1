/* File descriptors that close themselves. */
#pragma once

#include <errno.h>
#include <unistd.h>

/* Close *@fd if it is open, keep errno, and leave -1 behind. */
static inline void
lodge_fd_clear(int *fd)
{
    if (*fd >= 0) {
        int saved_errno = errno;
        close(*fd);
        errno = saved_errno;
        *fd = -1;
    }
}

/* Hand the descriptor over: returns *@fd and leaves -1. */
static inline int
lodge_fd_steal(int *fd)
{
    int value = *fd;
    *fd = -1;
    return value;
}

#define lodge_autofd __attribute__((cleanup(lodge_fd_clear))) int
