#include "agent/users.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"

enum {
    FIELDS_AT_MOST = 7,
    FILE_LIMIT = 1 << 20,
};

/* Cut a line at its colons. How many fields it has. */
static int
split(char *line, char *fields[FIELDS_AT_MOST])
{
    int count = 0;
    for (char *next = line; next != NULL && count < FIELDS_AT_MOST; count++) {
        fields[count] = strsep(&next, ":");
    }
    return count;
}

static bool
is_number(const char *text)
{
    return *text != '\0' && text[strspn(text, "0123456789")] == '\0';
}

static void
copy(char out_text[USER_TEXT_BYTES], const char *text)
{
    snprintf(out_text, USER_TEXT_BYTES, "%s", text);
}

static bool
find_account(char *passwd, const char *name, User *out_user)
{
    char *line;
    while ((line = strsep(&passwd, "\n")) != NULL) {
        char *fields[FIELDS_AT_MOST];
        if (split(line, fields) < 7 || !is_number(fields[2]) || !is_number(fields[3]) ||
            (strcmp(fields[0], name) != 0 && strcmp(fields[2], name) != 0)) {
            continue;
        }
        copy(out_user->name, fields[0]);
        copy(out_user->home, fields[5]);
        copy(out_user->shell, *fields[6] != '\0' ? fields[6] : "/bin/sh");
        out_user->uid = (uid_t)strtoul(fields[2], NULL, 10);
        out_user->gid = (gid_t)strtoul(fields[3], NULL, 10);
        return true;
    }
    return false;
}

static void
find_groups(char *group, User *user)
{
    char *line;
    user->groups[0] = user->gid;
    user->group_count = 1;
    while ((line = strsep(&group, "\n")) != NULL && user->group_count < USER_GROUPS_AT_MOST) {
        char *fields[FIELDS_AT_MOST];
        if (split(line, fields) < 4 || !is_number(fields[2])) {
            continue;
        }
        char *member;
        while ((member = strsep(&fields[3], ",")) != NULL) {
            if (strcmp(member, user->name) == 0) {
                user->groups[user->group_count++] = (gid_t)strtoul(fields[2], NULL, 10);
                break;
            }
        }
    }
}

bool
user_find(const char *name, User *out_user)
{
    size_t length;
    char *text = read_whole("/etc/passwd", FILE_LIMIT, true, &length);
    bool found = text != NULL && find_account(text, name, out_user);
    free(text);
    if (!found) {
        return false;
    }
    text = read_whole("/etc/group", FILE_LIMIT, true, &length);
    out_user->groups[0] = out_user->gid;
    out_user->group_count = 1;
    if (text != NULL) {
        find_groups(text, out_user);
    }
    free(text);
    return true;
}
