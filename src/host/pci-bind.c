/* Theory of operation: the kernel binds a device to a driver by itself, by its make.
 *
 * driver_override names the one driver that may have the device, so that no other takes it, and
 * vfio-pci takes no other of the same make. Then the present driver lets go (unbind), and the
 * kernel is asked to look again (drivers_probe). Back is the same way: no override, unbind, and the
 * driver that was there is asked by name, as several may want it. */
#include "config.h"

#include "host/pci-bind.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/base.h"

#define VFIO "vfio-pci"

enum { LOAD_TIMEOUT_MS = 20000 };

static char *
device_path(const char *root, const char *address, const char *file)
{
    return g_strdup_printf("%s/sys/bus/pci/devices/%s/%s", root, address, file);
}

/* One write, as sysfs wants it. */
static gboolean
say(const char *path, const char *text, GError **error)
{
    lodge_autofd fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC | O_NOFOLLOW);
    gsize length = strlen(text);
    return (fd >= 0 && write(fd, text, length) == (gssize)length) ||
           lodge_error_errno(error, errno, "%s", path);
}

static gboolean
say_device(const char *root, const char *address, const char *file, const char *text,
           GError **error)
{
    g_autofree char *path = device_path(root, address, file);
    return say(path, text, error);
}

/* NULL: none. */
static char *
driver_of(const char *root, const char *address)
{
    g_autofree char *path = device_path(root, address, "driver");
    g_autofree char *target = g_file_read_link(path, NULL);
    return target != NULL ? g_path_get_basename(target) : NULL;
}

static gboolean
unbind(const char *root, const char *address, GError **error)
{
    g_autofree char *driver = driver_of(root, address);
    g_autofree char *path = g_strdup_printf("%s/sys/bus/pci/drivers/%s/unbind", root,
                                            driver != NULL ? driver : "");
    return driver == NULL || say(path, address, error);
}

static gboolean
probe(const char *root, const char *address, GError **error)
{
    g_autofree char *path = g_strconcat(root, "/sys/bus/pci/drivers_probe", NULL);
    return say(path, address, error);
}

static gboolean
ensure_vfio(const char *root, GError **error)
{
    static const char *const load[] = {"modprobe", VFIO, NULL};
    g_autofree char *path = g_strconcat(root, "/sys/bus/pci/drivers/" VFIO, NULL);
    g_autoptr(GError) problem = NULL;
    if (g_file_test(path, G_FILE_TEST_IS_DIR) ||
        (*root == '\0' && lodge_process_run_argv(load, LOAD_TIMEOUT_MS, NULL, &problem))) {
        return TRUE;
    }
    return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                           "this host's kernel has no vfio-pci (`modprobe vfio-pci`%s%s)",
                           problem != NULL ? ": " : "", problem != NULL ? problem->message : "");
}

static gboolean
rebind(const char *root, const char *address, GError **error)
{
    if (!say_device(root, address, "driver_override", VFIO, error) ||
        !unbind(root, address, error) || !probe(root, address, error)) {
        return FALSE;
    }
    g_autofree char *driver = driver_of(root, address);
    return g_strcmp0(driver, VFIO) == 0 ||
           lodge_error_set(error, LODGE_ERROR_FAILED,
                           "vfio-pci does not take it (the kernel's log, `dmesg`, says why)");
}

gboolean
lodge_pci_take(const char *root, const LodgePciDevice *device, GError **error)
{
    g_autofree char *driver = driver_of(root, device->address);
    if (g_strcmp0(driver, VFIO) == 0) {
        return TRUE;
    }
    if (!ensure_vfio(root, error)) {
        return lodge_error_prefix(error, "PCI device %s", device->address);
    }
    if (!rebind(root, device->address, error)) {
        lodge_pci_give_back(root, device->address, driver != NULL ? driver : "", NULL);
        return lodge_error_prefix(error, "PCI device %s", device->address);
    }
    return TRUE;
}

static gboolean
give_back(const char *root, const char *address, const char *driver, GError **error)
{
    /* A line end takes the override away. */
    if (!say_device(root, address, "driver_override", "\n", error)) {
        return FALSE;
    }
    g_autofree char *present = driver_of(root, address);
    if (g_strcmp0(present, VFIO) == 0 && !unbind(root, address, error)) {
        return FALSE;
    }
    if (driver != NULL && *driver == '\0') {
        return TRUE;
    }
    if (driver != NULL && g_strcmp0(present, driver) != 0) {
        g_autofree char *path = g_strdup_printf("%s/sys/bus/pci/drivers/%s/bind", root, driver);
        if (say(path, address, NULL)) {
            return TRUE;
        }
    }
    return probe(root, address, error);
}

gboolean
lodge_pci_give_back(const char *root, const char *address, const char *driver, GError **error)
{
    g_autofree char *path = device_path(root, address, "");
    return !g_file_test(path, G_FILE_TEST_IS_DIR) || give_back(root, address, driver, error) ||
           lodge_error_prefix(error, "PCI device %s", address);
}

gboolean
lodge_pci_lend_group(const char *root, int group, uid_t uid, GError **error)
{
    g_autofree char *path = g_strdup_printf("%s/dev/vfio/%d", root, group);
    return chown(path, uid, (gid_t)-1) == 0 || errno == ENOENT ||
           lodge_error_errno(error, errno, "%s", path);
}
