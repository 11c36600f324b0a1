#include "agent/identity.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/users.h"

enum {
    HOSTNAME_LONGEST = 64, /* the kernel's */
    MACHINE_ID_LENGTH = 32,
    HOSTS_LIMIT = 256 * 1024,
    ENTROPY_AT_MOST = 512,
};

static const FileOwner root_file = {.mode = 0644, .uid = (uid_t)-1, .gid = (gid_t)-1};

/* "127.0.1.1 web1.example.org web1" in the place of the line that was there, or at the end. */
static int
write_hosts(const char *name)
{
    size_t length, used = 0;
    char own[2 * HOSTNAME_LONGEST + 32];
    char *old = read_whole("/etc/hosts", HOSTS_LIMIT, true, &length);
    char *text = old != NULL ? malloc(length + sizeof own + 2) : NULL;
    if (text == NULL) {
        free(old);
        return errno;
    }
    size_t first = strcspn(name, ".");
    snprintf(own, sizeof own, "127.0.1.1 %s%s%.*s\n", name, name[first] == '.' ? " " : "",
             name[first] == '.' ? (int)first : 0, name);
    bool is_written = false;
    for (char *line = old; *line != '\0';) {
        size_t line_length = strcspn(line, "\n");
        bool is_own = strncmp(line, "127.0.1.1", 9) == 0 && isspace((unsigned char)line[9]);
        if (is_own && !is_written) {
            used += (size_t)sprintf(text + used, "%s", own);
            is_written = true;
        } else if (!is_own) {
            used += (size_t)sprintf(text + used, "%.*s\n", (int)line_length, line);
        }
        line += line_length + (line[line_length] == '\n');
    }
    if (!is_written) {
        used += (size_t)sprintf(text + used, "%s", own);
    }
    int problem = write_whole("/etc/hosts", text, used, root_file) ? 0 : errno;
    free(old);
    free(text);
    return problem;
}

int
identity_hostname(const char *name)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-";
    char line[HOSTNAME_LONGEST + 2];
    size_t length = strlen(name);
    if (length == 0 || length > HOSTNAME_LONGEST || name[strspn(name, allowed)] != '\0' ||
        name[0] == '.' || name[0] == '-') {
        return EINVAL;
    }
    int line_length = snprintf(line, sizeof line, "%s\n", name);
    if (!write_whole("/etc/hostname", line, (size_t)line_length, root_file)) {
        return errno;
    }
    int problem = write_hosts(name);
    if (problem == 0 && !settings.dry && sethostname(name, length) < 0) {
        problem = errno;
    }
    return problem;
}

int
identity_machine_id(const char *id)
{
    char line[MACHINE_ID_LENGTH + 2], path[AGENT_PATH_LIMIT];
    struct stat about;
    if (strlen(id) != MACHINE_ID_LENGTH || id[strspn(id, "0123456789abcdef")] != '\0') {
        return EINVAL;
    }
    snprintf(line, sizeof line, "%s\n", id);
    FileOwner owner = {.mode = 0444, .uid = (uid_t)-1, .gid = (gid_t)-1};
    if (!write_whole("/etc/machine-id", line, MACHINE_ID_LENGTH + 1, owner)) {
        return errno;
    }
    /* D-Bus may have a copy of its own. */
    if (rooted_path(path, "/var/lib/dbus/machine-id") && lstat(path, &about) == 0 &&
        S_ISREG(about.st_mode) &&
        !write_whole("/var/lib/dbus/machine-id", line, MACHINE_ID_LENGTH + 1, owner)) {
        return errno;
    }
    return 0;
}

int
identity_clock(uint64_t time_ns)
{
    struct timespec now = {.tv_sec = (time_t)(time_ns / 1000000000),
                           .tv_nsec = (long)(time_ns % 1000000000)};
    return settings.dry || clock_settime(CLOCK_REALTIME, &now) == 0 ? 0 : errno;
}

int
identity_entropy(const void *bytes, size_t length)
{
    union {
        struct rand_pool_info info;
        char bytes[sizeof(struct rand_pool_info) + ENTROPY_AT_MOST];
    } pool = {.info = {.entropy_count = (int)length * 8, .buf_size = (int)length}};
    if (length == 0 || length > ENTROPY_AT_MOST) {
        return EINVAL;
    }
    if (settings.dry) {
        return 0;
    }
    memcpy(pool.bytes + sizeof(struct rand_pool_info), bytes, length);
    int fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno;
    }
    int problem = ioctl(fd, RNDADDENTROPY, &pool) < 0 ? errno : 0;
    if (problem == 0 && ioctl(fd, RNDRESEEDCRNG, 0) < 0 && errno != ENOTTY && errno != EINVAL) {
        problem = errno; /* kernels before 4.14 can't be told to reseed at once */
    }
    close(fd);
    return problem;
}

/* Where sshd was set up to look in a folder of root's own, that is the place for keys; else the
 * user's home. */
static bool
is_folder(const char *path)
{
    char real[AGENT_PATH_LIMIT];
    struct stat about;
    return rooted_path(real, path) && stat(real, &about) == 0 && S_ISDIR(about.st_mode);
}

/* Errno if there can't be one; the file's place goes to @out_path. */
static int
make_key_folder(const User *user, char *out_path, size_t size)
{
    char real[AGENT_PATH_LIMIT];
    snprintf(out_path, size, "%s/.ssh", user->home);
    if (!rooted_path(real, out_path) || (mkdir(real, 0700) < 0 && errno != EEXIST)) {
        return errno;
    }
    snprintf(out_path, size, "%s/.ssh/authorized_keys", user->home);
    return 0;
}

static int
write_keys_at_home(const User *user, const Gathered *keys)
{
    char path[USER_TEXT_BYTES + 64];
    FileOwner owner = {.mode = 0600, .uid = (uid_t)-1, .gid = (gid_t)-1};
    int problem = make_key_folder(user, path, sizeof path);
    return problem != 0 || write_whole(path, keys->bytes, keys->length, owner) ? problem : errno;
}

int
identity_keys(const char *user_name, const Gathered *keys)
{
    static const char shared[] = "/etc/ssh/authorized_keys.d";
    User user;
    char path[USER_TEXT_BYTES + 64];
    if (!user_find(user_name, &user) || strchr(user.name, '/') != NULL) {
        return ENOENT;
    }
    if (is_folder(shared)) {
        snprintf(path, sizeof path, "%s/%s", shared, user.name);
        return write_whole(path, keys->bytes, keys->length, root_file) ? 0 : errno;
    }
    /* As that user: what stands in a home is its owner's to choose, links that lead out too. */
    setfsgid(user.gid);
    setfsuid(user.uid);
    int problem = write_keys_at_home(&user, keys);
    setfsuid(geteuid());
    setfsgid(getegid());
    return problem;
}

int
identity_file(const char *path, mode_t mode, const Gathered *content)
{
    FileOwner owner = {.mode = mode, .uid = (uid_t)-1, .gid = (gid_t)-1};
    if (path[0] != '/') {
        return EINVAL;
    }
    return write_whole(path, content->bytes, content->length, owner) ? 0 : errno;
}

int
identity_resolver(const Gathered *text)
{
    char path[AGENT_PATH_LIMIT];
    struct stat about;
    if (rooted_path(path, "/etc/resolv.conf") && lstat(path, &about) == 0 &&
        S_ISLNK(about.st_mode)) {
        return EOPNOTSUPP; /* a resolver of the guest's own keeps it */
    }
    return write_whole("/etc/resolv.conf", text->bytes, text->length, root_file) ? 0 : errno;
}

/* The one that listens: its parent is none. */
static int
find_dropbear(void)
{
    DIR *folder = opendir("/proc");
    struct dirent *entry;
    int found = 0;
    while (folder != NULL && found == 0 && (entry = readdir(folder)) != NULL) {
        char path[300], text[512];
        int pid = atoi(entry->d_name), parent = 0;
        snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
        if (pid <= 1 || read_text(path, text, sizeof text) <= 0 ||
            strstr(text, " (dropbear) ") == NULL ||
            sscanf(strrchr(text, ')'), ") %*c %d", &parent) != 1) {
            continue;
        }
        snprintf(path, sizeof path, "/proc/%d/comm", parent);
        found = read_text(path, text, sizeof text) > 0 && strcmp(text, "dropbear\n") == 0 ? 0 : pid;
    }
    if (folder != NULL) {
        closedir(folder);
    }
    return found;
}

/* OpenSSH before 9.8 reads them for each connection; later ones have a program of their own for
 * that, and read them at their start. dropbear does too, and is begun again by who began it. */
void
identity_reload_sshd(void)
{
    static const char session[] = "/usr/lib/openssh/sshd-session";
    char text[32], path[64], name[32];
    if (settings.dry) {
        return;
    }
    int dropbear = find_dropbear();
    if (dropbear > 1) {
        kill(dropbear, SIGTERM);
    }
    if ((access(session, F_OK) < 0 && access("/usr/libexec/openssh/sshd-session", F_OK) < 0) ||
        read_text("/run/sshd.pid", text, sizeof text) <= 0) {
        return;
    }
    int pid = atoi(text);
    snprintf(path, sizeof path, "/proc/%d/comm", pid);
    if (pid > 1 && read_text(path, name, sizeof name) > 0 && strcmp(name, "sshd\n") == 0) {
        kill(pid, SIGHUP);
    }
}
