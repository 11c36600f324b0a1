/* What a request says about a file, and what ITEM says of one. */
#pragma once

#include <stdbool.h>
#include <sys/stat.h>

#include "agent/message.h"

typedef struct {
    char *path; /* absolute */
    char *target;
    uint64_t flags;
    uint64_t mode;
    uint64_t uid;
    uint64_t gid;
    uint64_t size;
    uint64_t mtime;
    bool has_mode;
    bool has_owner;
    bool has_size;
    bool has_mtime;
} FileRequest;

/* False if it has no absolute path, or a member is malformed. Clear it in any case. */
bool file_request_parse(FieldReader *fields, FileRequest *out_request);
void file_request_clear(FileRequest *request);

/* Add the fields of ITEM. @target may be NULL. */
void item_fill(Message *message, const char *path, const struct stat *about, const char *target);
