/* Where a group goes. The rules of version 2 that shape this: only leaves may hold processes, and a
 * folder has only the controllers that its parent passes on. */
#include "config.h"

#include "host/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"
#include "host/system.h"

#define PARENT "lodge"
#define UNIT_PREFIX "lodge-guest@"
#define UNIFIED "unified"

enum {
    OLD_SECONDS = 60,
};

/* What guests are limited and counted by; "freezer" is for version 1 only. */
static const char *const controllers_v1[] = {"cpu",  "cpuacct", "memory", "blkio",
                                             "pids", "freezer", NULL};
static const char *const controllers_v2[] = {"cpu", "memory", "io", "pids", NULL};

static void
place_free(gpointer data)
{
    LodgeCgroupPlace *place = data;
    g_free(place->controller);
    g_free(place->folder);
    g_free(place);
}

static LodgeCgroup *
cgroup_new(LodgeCgroupVersion version)
{
    LodgeCgroup *cgroup = g_new0(LodgeCgroup, 1);
    cgroup->version = version;
    cgroup->places = g_ptr_array_new_with_free_func(place_free);
    cgroup->enable = g_ptr_array_new_with_free_func(g_free);
    return cgroup;
}

void
lodge_cgroup_free(LodgeCgroup *cgroup)
{
    if (cgroup != NULL) {
        g_ptr_array_unref(cgroup->places);
        g_ptr_array_unref(cgroup->enable);
        g_free(cgroup->own);
        g_free(cgroup);
    }
}

static void
add_place(LodgeCgroup *cgroup, const char *controller, char *folder)
{
    LodgeCgroupPlace *place = g_new0(LodgeCgroupPlace, 1);
    place->controller = g_strdup(controller);
    place->folder = folder;
    g_ptr_array_add(cgroup->places, place);
}

/* --- Where ----------------------------------------------------------------------------------- */

/* A mounted hierarchy: where, which of its folders stands there, and for version 1 its controllers.
 */
typedef struct {
    char *point;
    char *root;
    char **controllers; /* NULL: version 2 */
} Hierarchy;

static void
hierarchy_free(gpointer data)
{
    Hierarchy *hierarchy = data;
    g_free(hierarchy->point);
    g_free(hierarchy->root);
    g_strfreev(hierarchy->controllers);
    g_free(hierarchy);
}

/* Lines of mountinfo: id parent device root point options … - type source super-options. */
static GPtrArray *
read_hierarchies(const char *sysroot)
{
    GPtrArray *found = g_ptr_array_new_with_free_func(hierarchy_free);
    g_autofree char *mounts = lodge_system_text(sysroot, "/proc/self/mountinfo");
    g_auto(GStrv) lines = g_strsplit(mounts, "\n", -1);
    for (gsize i = 0; lines[i] != NULL; i++) {
        char *dash = strstr(lines[i], " - cgroup");
        if (dash == NULL) {
            continue;
        }
        *dash = '\0';
        g_auto(GStrv) left = g_strsplit(lines[i], " ", -1);
        g_auto(GStrv) right = g_strsplit(dash + 3, " ", 3);
        if (g_strv_length(left) >= 6 && g_strv_length(right) == 3) {
            Hierarchy *hierarchy = g_new0(Hierarchy, 1);
            hierarchy->root = g_strdup(left[3]);
            hierarchy->point = g_strdup(left[4]);
            hierarchy->controllers = g_str_equal(right[0], "cgroup2")
                                         ? NULL
                                         : g_strsplit(right[2], ",", -1);
            g_ptr_array_add(found, hierarchy);
        }
    }
    return found;
}

/* The hierarchy of a controller; NULL: version 2's. */
static const Hierarchy *
find_hierarchy(const GPtrArray *hierarchies, const char *controller)
{
    for (guint i = 0; i < hierarchies->len; i++) {
        const Hierarchy *hierarchy = hierarchies->pdata[i];
        const char *const *has = (const char *const *)hierarchy->controllers;
        if (controller == NULL ? has == NULL : has != NULL && g_strv_contains(has, controller)) {
            return hierarchy;
        }
    }
    return NULL;
}

/* This process's group in a hierarchy, from the text of /proc/self/cgroup ("4:cpu,cpuacct:/path";
 * version 2 "0::/path"), as a path below the mount's point: "" is the top. Free with g_free. */
static char *
own_path(const char *text, const Hierarchy *hierarchy, const char *controller)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (gsize i = 0; lines[i] != NULL; i++) {
        g_auto(GStrv) parts = g_strsplit(lines[i], ":", 3);
        if (g_strv_length(parts) != 3) {
            continue;
        }
        g_auto(GStrv) names = g_strsplit(parts[1], ",", -1);
        gboolean is_it = controller == NULL
                             ? *parts[1] == '\0'
                             : g_strv_contains((const char *const *)names, controller);
        if (!is_it || strstr(parts[2], "/..") != NULL) {
            continue;
        }
        const char *path = parts[2];
        if (!g_str_equal(hierarchy->root, "/") && g_str_has_prefix(path, hierarchy->root)) {
            path += strlen(hierarchy->root);
        }
        return g_strdup(g_str_equal(path, "/") ? "" : path);
    }
    return g_strdup("");
}

/* The path up to and including the part that begins with @prefix and ends with ".service". Free
 * with g_free; NULL if there is none. */
static char *
up_to_unit(const char *path, const char *prefix)
{
    g_autofree char *word = g_strconcat("/", prefix, NULL);
    const char *found = strstr(path, word);
    const char *end = found != NULL ? strchr(found + 1, '/') : NULL;
    gsize length = end != NULL ? (gsize)(end - path) : strlen(path);
    g_autofree char *unit = found != NULL ? g_strndup(path, length) : NULL;
    return unit != NULL && g_str_has_suffix(unit, ".service") ? g_steal_pointer(&unit) : NULL;
}

static gboolean
refuse(GError **error, const char *why)
{
    return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED, "%s", why);
}

static LodgeCgroup *
plan_v2(const char *sysroot, const char *own, const Hierarchy *unified, const char *label,
        uid_t uid, GError **error)
{
    g_autoptr(LodgeCgroup) cgroup = cgroup_new(LODGE_CGROUP_V2);
    g_autofree char *user_unit = g_strdup_printf("user@%u.service", (guint)uid);
    g_autofree char *unit = up_to_unit(own, UNIT_PREFIX);
    g_autofree char *manager = up_to_unit(own, user_unit);
    g_autofree char *point = lodge_system_path(sysroot, unified->point);
    if (unit != NULL) {
        /* systemd gave this unit its folder to divide. */
        if (g_str_equal(own, unit)) {
            cgroup->own = g_strconcat(point, unit, "/keeper", NULL);
        }
        g_ptr_array_add(cgroup->enable, g_strconcat(point, unit, NULL));
        add_place(cgroup, UNIFIED, g_strconcat(point, unit, "/guest", NULL));
        return g_steal_pointer(&cgroup);
    }
    if (uid != 0 && manager == NULL) {
        refuse(error, "an ordinary user has control groups only below a systemd user manager: log "
                      "in by `systemd-run --user --scope bash`, or run guests as root");
        return NULL;
    }
    const char *top = uid != 0 ? manager : "";
    g_ptr_array_add(cgroup->enable, g_strconcat(point, top, NULL));
    g_ptr_array_add(cgroup->enable, g_strconcat(point, top, "/" PARENT, NULL));
    add_place(cgroup, UNIFIED, g_strconcat(point, top, "/" PARENT "/", label, NULL));
    return g_steal_pointer(&cgroup);
}

/* Does a limit that is asked for need the controller of version 1? */
static gboolean
is_asked(const LodgeCgroupLimits *limits, const char *controller)
{
    g_autoptr(GPtrArray) asked = lodge_cgroup_render(limits, LODGE_CGROUP_V1, FALSE);
    for (guint i = 0; i < asked->len; i++) {
        const LodgeCgroupSetting *setting = asked->pdata[i];
        if (g_str_equal(setting->controller, controller)) {
            return TRUE;
        }
    }
    return FALSE;
}

LodgeCgroup *
lodge_cgroup_plan(const char *sysroot, const char *label, const LodgeCgroupLimits *limits,
                  uid_t uid, GError **error)
{
    sysroot = sysroot != NULL ? sysroot : "";
    g_autoptr(GPtrArray) hierarchies = read_hierarchies(sysroot);
    g_autofree char *groups = lodge_system_text(sysroot, "/proc/self/cgroup");
    g_autoptr(LodgeCgroup) cgroup = cgroup_new(LODGE_CGROUP_V1);
    gboolean has_v1 = FALSE;
    for (gsize i = 0; controllers_v1[i] != NULL; i++) {
        const Hierarchy *hierarchy = find_hierarchy(hierarchies, controllers_v1[i]);
        has_v1 = has_v1 || hierarchy != NULL;
        g_autofree char *own = hierarchy != NULL ? own_path(groups, hierarchy, controllers_v1[i])
                                                 : NULL;
        if (own != NULL && (*own == '\0' || is_asked(limits, controllers_v1[i]))) {
            g_autofree char *point = lodge_system_path(sysroot, hierarchy->point);
            add_place(cgroup, controllers_v1[i],
                      g_strconcat(point, own, "/" PARENT "/", label, NULL));
        }
    }
    if (has_v1 && (uid != 0 || cgroup->places->len == 0)) {
        refuse(error, uid != 0 ? "control groups of version 1 are root's"
                               : "it is in the groups of whoever started it, and has no limits");
        return NULL;
    }
    if (has_v1) {
        return g_steal_pointer(&cgroup);
    }
    const Hierarchy *unified = find_hierarchy(hierarchies, NULL);
    if (unified == NULL) {
        refuse(error, "no control groups are mounted (`lodge check` says how to)");
        return NULL;
    }
    g_autofree char *own = own_path(groups, unified, NULL);
    return plan_v2(sysroot, own, unified, label, uid, error);
}

/* --- Making and removing --------------------------------------------------------------------- */

static gboolean
write_file(const char *folder, const char *file, const char *value)
{
    g_autofree char *path = g_build_filename(folder, file, NULL);
    lodge_autofd fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    gssize length = (gssize)strlen(value);
    return fd >= 0 && write(fd, value, (gsize)length) == length;
}

static gboolean
write_pid(const char *folder, pid_t pid)
{
    g_autofree char *text = g_strdup_printf("%d", (int)pid);
    return write_file(folder, "cgroup.procs", text);
}

/* Pass the controllers on, each by itself: one that is absent must not keep the others away. */
static void
enable_controllers(const LodgeCgroup *cgroup)
{
    if (cgroup->own != NULL && lodge_dir_make(cgroup->own, 0755, NULL)) {
        write_pid(cgroup->own, getpid());
    }
    for (guint i = 0; i < cgroup->enable->len; i++) {
        const char *folder = cgroup->enable->pdata[i];
        lodge_dir_make(folder, 0755, NULL);
        for (gsize k = 0; controllers_v2[k] != NULL; k++) {
            g_autofree char *word = g_strconcat("+", controllers_v2[k], NULL);
            write_file(folder, "cgroup.subtree_control", word);
        }
    }
}

static const char *
folder_of(const LodgeCgroup *cgroup, const char *controller)
{
    for (guint i = 0; i < cgroup->places->len; i++) {
        const LodgeCgroupPlace *place = cgroup->places->pdata[i];
        if (cgroup->version == LODGE_CGROUP_V2 || g_str_equal(place->controller, controller)) {
            return place->folder;
        }
    }
    return NULL;
}

static gboolean
write_setting(const LodgeCgroup *cgroup, const LodgeCgroupSetting *setting)
{
    const char *folder = folder_of(cgroup, setting->controller);
    return folder != NULL && write_file(folder, setting->file, setting->value);
}

gboolean
lodge_cgroup_covers(const LodgeCgroup *cgroup, const LodgeCgroupLimits *limits)
{
    g_autoptr(GPtrArray) asked = lodge_cgroup_render(limits, cgroup->version, FALSE);
    for (guint i = 0; i < asked->len; i++) {
        const LodgeCgroupSetting *setting = asked->pdata[i];
        if (folder_of(cgroup, setting->controller) == NULL) {
            return FALSE;
        }
    }
    return TRUE;
}

gboolean
lodge_cgroup_apply(const LodgeCgroup *cgroup, const LodgeCgroupLimits *limits, GError **error)
{
    g_autoptr(GPtrArray) all = lodge_cgroup_render(limits, cgroup->version, TRUE);
    g_autoptr(GPtrArray) asked = lodge_cgroup_render(limits, cgroup->version, FALSE);
    g_autoptr(GError) first = NULL;
    for (guint i = 0; i < all->len; i++) {
        const LodgeCgroupSetting *setting = all->pdata[i];
        gboolean wanted = FALSE;
        for (guint k = 0; k < asked->len; k++) {
            const LodgeCgroupSetting *other = asked->pdata[k];
            wanted = wanted || g_str_equal(other->file, setting->file);
        }
        if (!write_setting(cgroup, setting) && wanted && first == NULL) {
            lodge_error_set(&first, LODGE_ERROR_FAILED,
                            "the kernel does not take %s for %s here (%s)", setting->value,
                            setting->file, g_strerror(errno));
        }
    }
    if (first != NULL) {
        g_propagate_error(error, g_steal_pointer(&first));
        return FALSE;
    }
    return TRUE;
}

gboolean
lodge_cgroup_enter(const LodgeCgroup *cgroup, const LodgeCgroupLimits *limits, pid_t pid,
                   GError **error)
{
    guint entered = 0;
    int saved_errno = 0;
    gboolean is_new = TRUE;
    enable_controllers(cgroup);
    for (guint i = 0; i < cgroup->places->len; i++) {
        const LodgeCgroupPlace *place = cgroup->places->pdata[i];
        if (mkdir(place->folder, 0755) == 0) {
            continue;
        }
        if (errno == EEXIST) {
            is_new = FALSE; /* it may have old limits */
        } else if (!lodge_dir_make(place->folder, 0755, NULL)) {
            /* The last guest that ended took the parent away between the two steps. */
            lodge_dir_make(place->folder, 0755, NULL);
        }
    }
    g_autoptr(GPtrArray) settings = lodge_cgroup_render(limits, cgroup->version, !is_new);
    for (guint i = 0; i < settings->len; i++) {
        write_setting(cgroup, settings->pdata[i]);
    }
    for (guint i = 0; i < cgroup->places->len; i++) {
        const LodgeCgroupPlace *place = cgroup->places->pdata[i];
        if (write_pid(place->folder, pid)) {
            entered++;
        } else {
            saved_errno = errno;
            rmdir(place->folder);
        }
    }
    return entered > 0 || lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                                          "QEMU could not be moved into its control group (%s)",
                                          g_strerror(saved_errno));
}

/* Old groups without a process. One that is young may be about to get its QEMU. */
static void
sweep(const char *parent)
{
    time_t now = time(NULL);
    g_auto(GStrv) names = lodge_dir_names(parent, NULL);
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        struct stat info;
        g_autofree char *path = g_build_filename(parent, names[i], NULL);
        if (lstat(path, &info) == 0 && S_ISDIR(info.st_mode) && info.st_mtime < now - OLD_SECONDS) {
            rmdir(path);
        }
    }
}

void
lodge_cgroup_remove(const LodgeCgroup *cgroup)
{
    for (guint i = 0; i < cgroup->places->len; i++) {
        const LodgeCgroupPlace *place = cgroup->places->pdata[i];
        g_autofree char *parent = g_path_get_dirname(place->folder);
        rmdir(place->folder);
        if (g_str_has_suffix(parent, "/" PARENT)) {
            sweep(parent);
            rmdir(parent);
        }
    }
}

char *
lodge_cgroup_format(const LodgeCgroup *cgroup)
{
    GString *text = g_string_new(NULL);
    for (guint i = 0; i < cgroup->places->len; i++) {
        const LodgeCgroupPlace *place = cgroup->places->pdata[i];
        g_string_append_printf(text, "%s %s\n", place->controller, place->folder);
    }
    return g_string_free(text, FALSE);
}

LodgeCgroup *
lodge_cgroup_parse(const char *text)
{
    g_autoptr(LodgeCgroup) cgroup = cgroup_new(LODGE_CGROUP_V1);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (gsize i = 0; lines[i] != NULL; i++) {
        char *space = strchr(lines[i], ' ');
        if (space != NULL && space[1] == '/') {
            *space = '\0';
            cgroup->version = g_str_equal(lines[i], UNIFIED) ? LODGE_CGROUP_V2 : cgroup->version;
            add_place(cgroup, lines[i], g_strdup(space + 1));
        }
    }
    return cgroup->places->len > 0 ? g_steal_pointer(&cgroup) : NULL;
}
