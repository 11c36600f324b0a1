#include "config.h"

#include "keeper/pin.h"

#include <errno.h>
#include <sched.h>

#include "base/base.h"
#include "host/topology.h"
#include "host/usb.h"

gboolean
lodge_pin_check(const LodgeGuest *guest, GError **error)
{
    const char *root = lodge_sysroot();
    if (guest->pin != NULL && !lodge_topology_check(root, LODGE_TOPOLOGY_CPUS, guest->pin, error)) {
        return lodge_error_prefix(error, "pin=%s", guest->pin);
    }
    if (guest->numa != NULL &&
        !lodge_topology_check(root, LODGE_TOPOLOGY_NODES, guest->numa, error)) {
        return lodge_error_prefix(error, "numa=%s", guest->numa);
    }
    return TRUE;
}

static gboolean
set_affinity(pid_t thread, const guint *cpus, guint count, GError **error)
{
    guint most = 0;
    for (guint i = 0; i < count; i++) {
        most = MAX(most, cpus[i]);
    }
    cpu_set_t *set = CPU_ALLOC(most + 1);
    gsize size = CPU_ALLOC_SIZE(most + 1);
    CPU_ZERO_S(size, set);
    for (guint i = 0; i < count; i++) {
        CPU_SET_S(cpus[i], size, set);
    }
    /* One that ended meanwhile needs no place. */
    gboolean fine = sched_setaffinity(thread, size, set) == 0 || errno == ESRCH ||
                    lodge_error_errno(error, errno, "Pinning a CPU");
    CPU_FREE(set);
    return fine;
}

gboolean
lodge_pin_apply(const LodgeGuest *guest, const json_t *cpus, GError **error)
{
    gsize index;
    const json_t *cpu;
    g_autoptr(GArray) places = guest->pin != NULL
                                   ? lodge_number_list_parse(guest->pin, G_MAXINT, error)
                                   : lodge_topology_online(lodge_sysroot(), LODGE_TOPOLOGY_CPUS);
    if (places == NULL || (guest->pin != NULL && !lodge_pin_check(guest, error))) {
        return FALSE;
    }
    const guint *numbers = (const guint *)(gpointer)places->data;
    json_array_foreach ((json_t *)cpus, index, cpu) {
        pid_t thread = (pid_t)lodge_json_int(cpu, "thread-id", 0);
        guint number = (guint)lodge_json_int(cpu, "cpu-index", 0);
        gboolean fine = thread <= 0 ||
                        (guest->pin != NULL
                             ? set_affinity(thread, &numbers[number % places->len], 1, error)
                             : set_affinity(thread, numbers, places->len, error));
        if (!fine) {
            return FALSE;
        }
    }
    return TRUE;
}
