/* The guest's users, by its own files: the C library's way would load modules we are not linked to.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

enum {
    USER_TEXT_BYTES = 256,
    USER_GROUPS_AT_MOST = 64,
};

typedef struct {
    char name[USER_TEXT_BYTES];
    char home[USER_TEXT_BYTES];
    char shell[USER_TEXT_BYTES];
    uid_t uid;
    gid_t gid;
    gid_t groups[USER_GROUPS_AT_MOST];
    int group_count;
} User;

/* @name is a name or a number in /etc/passwd. False if there is none. */
bool user_find(const char *name, User *out_user);
