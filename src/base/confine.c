#include "config.h"

#include "base/confine.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"

/* Only whose content is opened is limited: that is what a foreign file could be after. */
#define HANDLED (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE)

static void
allow(int ruleset_fd, const char *path, guint64 access)
{
    lodge_autofd fd = open(path, O_PATH | O_CLOEXEC);
    if (fd >= 0) {
        const struct landlock_path_beneath_attr rule = {.allowed_access = access, .parent_fd = fd};
        syscall(SYS_landlock_add_rule, ruleset_fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    }
}

int
lodge_confine_prepare(const char *program, const char *const *paths)
{
    static const char *const system[] = {"/usr",
                                         "/bin",
                                         "/lib",
                                         "/lib64",
                                         "/opt",
                                         "/nix/store",
                                         "/gnu/store",
                                         "/etc/ld.so.cache",
                                         "/etc/ld.so.preload"};
    const struct landlock_ruleset_attr attr = {.handled_access_fs = HANDLED};
    int ruleset_fd = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
    if (ruleset_fd < 0) {
        return -1;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(system); i++) {
        allow(ruleset_fd, system[i], LANDLOCK_ACCESS_FS_READ_FILE);
    }
    allow(ruleset_fd, program, LANDLOCK_ACCESS_FS_READ_FILE);
    for (gsize i = 0; paths[i] != NULL; i++) {
        allow(ruleset_fd, paths[i], HANDLED);
    }
    return ruleset_fd;
}

gboolean
lodge_confine_enter(int ruleset_fd)
{
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           syscall(SYS_landlock_restrict_self, ruleset_fd, 0) == 0;
}
