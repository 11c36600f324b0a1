/* Block nodes and descriptors of a running QEMU. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "ops/hotplug.h"

enum {
    NODES_AT_MOST = 4096,
    DROP_PASSES = 130, /* a chain's depth, twice: a node goes when none stands on it */
};

char *
hotplug_pass(const Hotplug *hotplug, const char *path, gboolean is_written, GError **error)
{
    lodge_autofd fd = open(path, (is_written ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    if (fd < 0) {
        lodge_error_errno(error, errno, "%s", path);
        return NULL;
    }
    g_autoptr(json_t)
        set = lodge_qmp_call_fd(hotplug->qmp, "add-fd", NULL, fd, hotplug->deadline, error);
    return set != NULL ? g_strdup_printf("/dev/fdset/%d", (int)lodge_json_int(set, "fdset-id", -1))
                       : NULL;
}

gboolean
hotplug_add_node(const Hotplug *hotplug, json_t *node, GError **error)
{
    g_autoptr(json_t)
        done = lodge_qmp_call(hotplug->qmp, "blockdev-add", node, hotplug->deadline, error);
    return done != NULL;
}

static json_t *
list_nodes(const Hotplug *hotplug, GError **error)
{
    return lodge_qmp_ask(hotplug->qmp, hotplug->deadline, error, "query-named-block-nodes", "{s:b}",
                         "flat", 1);
}

/* The N of "<letter>N" and "<letter>N-…"; -1 for other names. */
static int
number_of(const char *name, char letter)
{
    if (*name != letter || !g_ascii_isdigit(name[1])) {
        return -1;
    }
    char *end = NULL;
    guint64 number = g_ascii_strtoull(name + 1, &end, 10);
    return (*end == '\0' || *end == '-') && number < NODES_AT_MOST ? (int)number : -1;
}

int
hotplug_free_number(const Hotplug *hotplug, char letter, GError **error)
{
    gsize i = 0;
    const json_t *node = NULL;
    g_autofree gboolean *taken = g_new0(gboolean, NODES_AT_MOST);
    g_autoptr(json_t) nodes = list_nodes(hotplug, error);
    if (nodes == NULL) {
        return -1;
    }
    json_array_foreach (nodes, i, node) {
        int number = number_of(lodge_json_string(node, "node-name", ""), letter);
        if (number >= 0) {
            taken[number] = TRUE;
        }
    }
    for (int number = 0; number < NODES_AT_MOST; number++) {
        if (!taken[number]) {
            return number;
        }
    }
    lodge_error_set(error, LODGE_ERROR_BUSY, "QEMU has %d disks", NODES_AT_MOST);
    return -1;
}

/* Forget a descriptor set by its name; one that is gone is fine. */
static void
forget_set(const Hotplug *hotplug, const char *path)
{
    int set = -1;
    if (sscanf(path, "/dev/fdset/%d", &set) == 1) {
        lodge_qmp_run(hotplug->qmp, hotplug->deadline, NULL, "remove-fd", "{s:i}", "fdset-id", set);
    }
}

/* Try each of our nodes once. Returns how many are left; -1 on error. */
static int
drop_once(const Hotplug *hotplug, char letter, guint number, GError **error)
{
    gsize i = 0;
    int left = 0;
    const json_t *node = NULL;
    g_autoptr(json_t) nodes = list_nodes(hotplug, error);
    if (nodes == NULL) {
        return -1;
    }
    json_array_foreach (nodes, i, node) {
        const char *name = lodge_json_string(node, "node-name", "");
        if (number_of(name, letter) != (int)number) {
            continue;
        }
        if (!lodge_qmp_run(hotplug->qmp, hotplug->deadline, NULL, "blockdev-del", "{s:s}",
                           "node-name", name)) {
            left++;
        } else if (letter == 'c' || g_str_has_suffix(name, "-file")) {
            /* Nodes above show the name of the file below as their own; a disc's is in its node. */
            forget_set(hotplug, lodge_json_string(node, "file", ""));
        }
    }
    return left;
}

gboolean
hotplug_drop_nodes(const Hotplug *hotplug, char letter, guint number, GError **error)
{
    int before = G_MAXINT;
    for (guint pass = 0; pass < DROP_PASSES; pass++) {
        int left = drop_once(hotplug, letter, number, error);
        if (left <= 0) {
            return left == 0;
        }
        if (left >= before) {
            break;
        }
        before = left;
    }
    return lodge_error_set(error, LODGE_ERROR_BUSY, "QEMU still uses it");
}

/* Does the device at @qdev belong to the one called @id? QEMU names the part that has the drive. */
static gboolean
is_of_device(const char *qdev, const char *id)
{
    g_autofree char *path = g_strconcat("/machine/peripheral/", id, NULL);
    gsize length = strlen(path);
    return g_str_equal(qdev, id) ||
           (strncmp(qdev, path, length) == 0 && (qdev[length] == '\0' || qdev[length] == '/'));
}

char *
hotplug_disk_node(const Hotplug *hotplug, const char *disk, GError **error)
{
    gsize i = 0;
    const json_t *entry = NULL;
    g_autofree char *id = g_strconcat("disk-", disk, NULL);
    g_autoptr(json_t)
        blocks = lodge_qmp_ask(hotplug->qmp, hotplug->deadline, error, "query-block", NULL);
    if (blocks == NULL) {
        return NULL;
    }
    json_array_foreach (blocks, i, entry) {
        const json_t *inserted = json_object_get(entry, "inserted");
        const char *node = lodge_json_string(inserted, "node-name", NULL);
        if (is_of_device(lodge_json_string(entry, "qdev", ""), id) && node != NULL) {
            return g_strdup(node);
        }
    }
    /* A device that the guest gave up late left its nodes, which know their limits' name. */
    g_autofree char *group = g_strdup_printf("\"throttle-group\": \"limit-%s\"", disk);
    g_autoptr(json_t) nodes = list_nodes(hotplug, error);
    json_array_foreach (nodes, i, entry) {
        if (g_str_equal(lodge_json_string(entry, "drv", ""), "throttle") &&
            strstr(lodge_json_string(entry, "file", ""), group) != NULL) {
            return g_strdup(lodge_json_string(entry, "node-name", ""));
        }
    }
    if (nodes != NULL) {
        lodge_error_set(error, LODGE_ERROR_NOT_FOUND, "QEMU has no disk %s", disk);
    }
    return NULL;
}

gboolean
hotplug_drop_disk(const Hotplug *hotplug, const char *disk, GError **error)
{
    g_autoptr(GError) problem = NULL;
    g_autofree char *limit = g_strconcat("limit-", disk, NULL);
    g_autofree char *thread = g_strconcat("thread-", disk, NULL);
    g_autofree char *node = hotplug_disk_node(hotplug, disk, &problem);
    if (node == NULL && !g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_NOT_FOUND)) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    int number = node != NULL ? number_of(node, 'd') : -1;
    if (number >= 0 && !hotplug_drop_nodes(hotplug, 'd', (guint)number, error)) {
        return FALSE;
    }
    lodge_qmp_run(hotplug->qmp, hotplug->deadline, NULL, "object-del", "{s:s}", "id", limit);
    lodge_qmp_run(hotplug->qmp, hotplug->deadline, NULL, "object-del", "{s:s}", "id", thread);
    return TRUE;
}

int
hotplug_disk_number(const Hotplug *hotplug, const char *disk, GError **error)
{
    g_autofree char *node = hotplug_disk_node(hotplug, disk, error);
    int number = node != NULL ? number_of(node, 'd') : -1;
    if (node != NULL && number < 0) {
        lodge_error_set(error, LODGE_ERROR_FAILED, "disk %s has a node %s", disk, node);
    }
    return number;
}

/* Where a layer is, by its name: "d0-s2" above "d0-s1" above "d0" above "d0-1" above "d0-2". */
static int
rank(const char *name)
{
    const char *dash = strchr(name, '-');
    if (dash == NULL) {
        return 0;
    }
    return dash[1] == 's' ? (int)g_ascii_strtoll(dash + 2, NULL, 10)
                          : -(int)g_ascii_strtoll(dash + 1, NULL, 10);
}

static int
compare_ranks(gconstpointer a, gconstpointer b)
{
    return rank(*(const char *const *)b) - rank(*(const char *const *)a);
}

static GPtrArray *
list_layers(const Hotplug *hotplug, guint number, GError **error)
{
    gsize i = 0;
    const json_t *node = NULL;
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(json_t) nodes = list_nodes(hotplug, error);
    if (nodes == NULL) {
        return NULL;
    }
    json_array_foreach (nodes, i, node) {
        const char *name = lodge_json_string(node, "node-name", "");
        if (number_of(name, 'd') == (int)number && !g_str_has_suffix(name, "-file") &&
            !g_str_has_suffix(name, "-limit")) {
            g_ptr_array_add(names, g_strdup(name));
        }
    }
    g_ptr_array_sort(names, compare_ranks);
    return g_steal_pointer(&names);
}

int
hotplug_node_set(const Hotplug *hotplug, const char *name)
{
    gsize i = 0;
    int set = -1;
    const json_t *node = NULL;
    g_autoptr(json_t) nodes = list_nodes(hotplug, NULL);
    json_array_foreach (nodes, i, node) {
        if (g_str_equal(lodge_json_string(node, "node-name", ""), name) &&
            sscanf(lodge_json_string(node, "file", ""), "/dev/fdset/%d", &set) == 1) {
            return set;
        }
    }
    return -1;
}

gboolean
hotplug_drop_file(const Hotplug *hotplug, const char *file, int set, GError **error)
{
    if (!lodge_qmp_run(hotplug->qmp, hotplug->deadline, error, "blockdev-del", "{s:s}", "node-name",
                       file)) {
        return FALSE;
    }
    if (set >= 0) {
        g_autofree char *path = g_strdup_printf("/dev/fdset/%d", set);
        forget_set(hotplug, path);
    }
    return TRUE;
}

gboolean
hotplug_drop_layer(const Hotplug *hotplug, const char *node, GError **error)
{
    g_autofree char *own = g_strconcat(node, "-file", NULL);
    g_autofree char *writable = g_strconcat(node, "-w-file", NULL);
    int writable_set = hotplug_node_set(hotplug, writable);
    const char *file = writable_set >= 0 ? writable : own;
    int set = hotplug_node_set(hotplug, file);
    return lodge_qmp_run(hotplug->qmp, hotplug->deadline, error, "blockdev-del", "{s:s}",
                         "node-name", node) &&
           hotplug_drop_file(hotplug, file, set, error);
}

GPtrArray *
hotplug_disk_layers(const Hotplug *hotplug, guint number, GError **error)
{
    g_autoptr(GPtrArray) names = list_layers(hotplug, number, error);
    for (guint i = 0; names != NULL && i < names->len; i++) {
        /* QEMU deletes no node that is used. */
        hotplug_drop_layer(hotplug, names->pdata[i], NULL);
    }
    return names != NULL ? list_layers(hotplug, number, error) : NULL;
}
