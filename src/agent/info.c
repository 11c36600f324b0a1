#include "agent/info.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "agent/agent.h"

enum {
    TEXT_BYTES = 8192,
    /* A record of utmp, by glibc: it is not in every C library, the file's form is the same. */
    UTMP_BYTES = 384,
    UTMP_USER_PROCESS = 7,
};

/* The value behind "NAME=" at the beginning of a line, without its quotes. */
static bool
os_value(const char *text, const char *name, char *out_value, size_t size)
{
    size_t name_length = strlen(name);
    for (const char *line = text; line != NULL && *line != '\0';) {
        const char *end = strchr(line, '\n');
        size_t length = end != NULL ? (size_t)(end - line) : strlen(line);
        if (length > name_length && strncmp(line, name, name_length) == 0 &&
            line[name_length] == '=') {
            const char *value = line + name_length + 1;
            length -= name_length + 1;
            if (length >= 2 && (*value == '"' || *value == '\'') && value[length - 1] == *value) {
                value++;
                length -= 2;
            }
            snprintf(out_value, size, "%.*s", (int)length, value);
            return true;
        }
        line = end != NULL ? end + 1 : NULL;
    }
    return false;
}

/* It seldom changes, and who begins as a copy is spared reading it. */
static const char *
os_release(void)
{
    static char text[TEXT_BYTES];
    static struct timespec changed;
    static const char *const places[] = {"/etc/os-release", "/usr/lib/os-release"};
    char path[AGENT_PATH_LIMIT];
    struct stat about;
    for (size_t i = 0; i < COUNT(places); i++) {
        if (!rooted_path(path, places[i]) || stat(path, &about) < 0) {
            continue;
        }
        if (text[0] != '\0' && memcmp(&about.st_mtim, &changed, sizeof changed) == 0) {
            return text;
        }
        if (read_text(places[i], text, sizeof text) > 0) {
            changed = about.st_mtim;
            return text;
        }
    }
    return "";
}

void
info_fill_system(Message *message)
{
    static const struct {
        const char *name;
        uint8_t tag;
    } values[] = {
        {"ID", FIELD_OS_ID}, {"VERSION_ID", FIELD_OS_VERSION}, {"PRETTY_NAME", FIELD_OS_NAME}};
    const char *text = os_release();
    char value[256];
    struct utsname name;
    for (size_t i = 0; i < COUNT(values); i++) {
        if (os_value(text, values[i].name, value, sizeof value)) {
            message_text(message, values[i].tag, value);
        }
    }
    if (uname(&name) == 0) {
        message_text(message, FIELD_KERNEL, name.release);
        message_text(message, FIELD_HOSTNAME, name.nodename);
    }
    if (read_text("/proc/sys/kernel/random/boot_id", value, sizeof value) > 0) {
        value[strcspn(value, "\n")] = '\0';
        message_text(message, FIELD_BOOT_ID, value);
    }
}

static void
fill_memory(Message *message)
{
    static const struct {
        const char *name;
        uint8_t tag;
    } values[] = {{"MemTotal:", FIELD_MEMORY_TOTAL},
                  {"MemAvailable:", FIELD_MEMORY_AVAILABLE},
                  {"MemFree:", FIELD_MEMORY_FREE},
                  {"SwapTotal:", FIELD_SWAP_TOTAL},
                  {"SwapFree:", FIELD_SWAP_FREE}};
    char text[TEXT_BYTES];
    read_text("/proc/meminfo", text, sizeof text);
    for (size_t i = 0; i < COUNT(values); i++) {
        const char *line = strstr(text, values[i].name);
        if (line != NULL) {
            message_number(message, values[i].tag,
                           strtoull(line + strlen(values[i].name), NULL, 10) * 1024);
        }
    }
}

/* Where systemd runs: its sessions, but for those of services. */
static bool
count_sessions(unsigned *out_count)
{
    char path[AGENT_PATH_LIMIT], text[2048], class[32];
    struct dirent *entry;
    DIR *folder = opendir("/run/systemd/sessions");
    if (folder == NULL) {
        return false;
    }
    *out_count = 0;
    while ((entry = readdir(folder)) != NULL) {
        if (strchr(entry->d_name, '.') != NULL) {
            continue;
        }
        snprintf(path, sizeof path, "/run/systemd/sessions/%s", entry->d_name);
        if (read_text(path, text, sizeof text) > 0 &&
            os_value(text, "CLASS", class, sizeof class) && strcmp(class, "user") == 0) {
            ++*out_count;
        }
    }
    closedir(folder);
    return true;
}

static unsigned
count_logins(void)
{
    union {
        int16_t type;
        char bytes[UTMP_BYTES];
    } record;
    unsigned count = 0;
    int fd = open("/run/utmp", O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && read(fd, &record, sizeof record) == (ssize_t)sizeof record) {
        count += record.type == UTMP_USER_PROCESS;
    }
    if (fd >= 0) {
        close(fd);
    }
    return count;
}

void
info_fill(Message *message)
{
    info_fill_system(message);
    struct timespec up;
    char text[64];
    unsigned users;
    fill_memory(message);
    if (clock_gettime(CLOCK_BOOTTIME, &up) == 0) {
        message_number(message, FIELD_UPTIME_MS,
                       (uint64_t)up.tv_sec * 1000 + (uint64_t)up.tv_nsec / 1000000);
    }
    unsigned whole, hundredths;
    if (read_text("/proc/loadavg", text, sizeof text) > 0 &&
        sscanf(text, "%u.%2u", &whole, &hundredths) == 2) {
        message_number(message, FIELD_LOAD, (uint64_t)whole * 1000 + (uint64_t)hundredths * 10);
    }
    message_number(message, FIELD_USERS, count_sessions(&users) ? users : count_logins());
}
