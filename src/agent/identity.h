/* The parts of IDENTITY that are files and kernel settings. Each returns 0 or an errno. Private to
 * identity. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Bytes that several fields bring together. */
typedef struct {
    char *bytes;
    size_t length;
} Gathered;

int identity_hostname(const char *name);
int identity_machine_id(const char *id);
int identity_clock(uint64_t time_ns);
int identity_entropy(const void *bytes, size_t length);
int identity_keys(const char *user, const Gathered *keys);
int identity_file(const char *path, mode_t mode, const Gathered *content);
int identity_resolver(const Gathered *text);

/* Have a running sshd take its new host keys. */
void identity_reload_sshd(void);
