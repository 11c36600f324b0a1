/* What all of the agent uses: how it was started, texts, whole files. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define AGENT_PATH_LIMIT 4096
#define COUNT(array) (sizeof(array) / sizeof *(array))

typedef struct {
    const char *root;     /* prefix of the files of IDENTITY and INFO; "" but in tests */
    const char *port_dir; /* Unix sockets that stand for ports; NULL but in tests */
    bool dry;             /* change nothing of the kernel's: clock, host name, NICs, power */
} Settings;

extern Settings settings;

/* One line on standard error, which the journal keeps. Never while file systems are frozen. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* @path below the root that was given. Fails with ENAMETOOLONG. */
bool rooted_path(char out_path[AGENT_PATH_LIMIT], const char *path);

/* Read up to @size - 1 bytes of a file below the root, and put a NUL behind. Its length, or -1. */
ssize_t read_text(const char *path, char *out_text, size_t size);

/* A whole file below the root, at most @limit bytes, NUL behind; to be freed. NULL with errno; an
 * absent file is an empty one if @may_lack. */
char *read_whole(const char *path, size_t limit, bool may_lack, size_t *out_length);

/* Replace a file below the root: written beside it, then renamed. Missing folders are an error.
 * False with errno. */
typedef struct {
    mode_t mode;
    uid_t uid; /* -1: as it comes */
    gid_t gid;
} FileOwner;
bool write_whole(const char *path, const void *bytes, size_t length, FileOwner owner);

bool write_all(int fd, const void *bytes, size_t length);

int64_t now_ms(void);

/* Kernel randomness; false if there is none. */
bool random_bytes(void *out_bytes, size_t length);

/* "<path>.lodge-<random>": a neighbour of @path for its next content. */
bool neighbour_path(char out_path[AGENT_PATH_LIMIT], const char *path);
