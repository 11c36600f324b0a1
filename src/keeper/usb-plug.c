#include "config.h"

#include "keeper/usb-plug.h"

#include <fcntl.h>

#include "base/base.h"
#include "host/usb.h"

enum {
    FIRST_SET = 1000, /* above those of the command line and those that QEMU chooses */
};

typedef struct {
    const LodgeStore *store;
    char *guest;
    char *usb;
} Plug;

static void
on_plugged(LodgeQmp *qmp, const json_t *result, const GError *error, gpointer data)
{
    (void)qmp;
    (void)result;
    Plug *plug = data;
    lodge_event_append(plug->store, plug->guest, error != NULL ? "usb-failed" : "usb-attached",
                       json_pack("{s:s, s:o}", "usb", plug->usb, "reason",
                                 lodge_json_string_or_null(error != NULL ? error->message : NULL)));
    g_free(plug->guest);
    g_free(plug->usb);
    g_free(plug);
}

static void
plug_one(LodgeQmp *qmp, const LodgeStore *store, const LodgeGuest *guest, guint index,
         const LodgeUsbDevice *device)
{
    const LodgeUsb *usb = guest->usbs->pdata[index];
    int set = FIRST_SET + (int)index;
    g_autofree char *node = lodge_usb_node(lodge_sysroot(), device);
    g_autofree char *id = g_strconcat("usb-", usb->name, NULL);
    g_autofree char *path = g_strdup_printf("/dev/fdset/%d", set);
    lodge_autofd fd = open(node, O_RDWR | O_CLOEXEC);
    Plug *plug = g_new0(Plug, 1);
    plug->store = store;
    plug->guest = g_strdup(guest->name);
    plug->usb = g_strdup(usb->name);
    g_autoptr(GError) problem = NULL;
    if (fd < 0) {
        lodge_error_errno(&problem, errno, "%s", node);
        on_plugged(qmp, NULL, problem, plug);
        return;
    }
    lodge_qmp_send(qmp, "add-fd", json_pack("{s:i}", "fdset-id", set), fd, NULL, NULL, NULL);
    if (lodge_qmp_send(qmp, "device_add",
                       json_pack("{s:s, s:s, s:s, s:s}", "driver", "usb-host", "id", id, "bus",
                                 "usb.0", "hostdevice", path),
                       -1, on_plugged, plug, &problem) == 0) {
        on_plugged(qmp, NULL, problem, plug);
    }
    lodge_qmp_send(qmp, "remove-fd", json_pack("{s:i}", "fdset-id", set), -1, NULL, NULL, NULL);
}

void
usb_plug_all(LodgeQmp *qmp, const LodgeStore *store, const LodgeGuest *guest)
{
    g_autoptr(GPtrArray) devices = guest->usbs->len > 0 ? lodge_usb_devices(lodge_sysroot(), NULL)
                                                        : NULL;
    for (guint i = 0; devices != NULL && i < guest->usbs->len; i++) {
        LodgeUsbSpec spec;
        const LodgeUsb *usb = guest->usbs->pdata[i];
        gboolean readable = lodge_usb_spec_parse(usb->device, &spec, NULL);
        for (guint k = 0; readable && k < devices->len; k++) {
            if (lodge_usb_matches(devices->pdata[k], &spec)) {
                plug_one(qmp, store, guest, i, devices->pdata[k]);
                break;
            }
        }
    }
}
