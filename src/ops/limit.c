#include "config.h"

#include "ops/limit.h"

#include "base/base.h"
#include "keeper/group.h"
#include "ops/ops.h"
#include "ops/set.h"

enum {
    QEMU_TIMEOUT_MS = 5000, /* one whose CPU time is limited is slow to answer */
};

gboolean
lodge_limits_apply(const Session *session, GError **error)
{
    if (!session->state->has_qemu) {
        return TRUE;
    }
    LodgeCgroupLimits limits = lodge_limits_of(session->guest);
    g_autoptr(LodgeCgroup) cgroup = lodge_limits_cgroup(session->store, session->guest->name, NULL);
    if (cgroup == NULL && !lodge_limits_asked(session->guest)) {
        return TRUE;
    }
    if (cgroup == NULL || !lodge_cgroup_covers(cgroup, &limits)) {
        if (!lodge_limits_place(session->store, session->guest, session->state->qemu_pid, error)) {
            return lodge_error_prefix(error, "guest %s: limits", session->guest->name);
        }
        lodge_cgroup_free(cgroup);
        cgroup = lodge_limits_cgroup(session->store, session->guest->name, NULL);
    }
    gboolean fine = cgroup == NULL || lodge_cgroup_apply(cgroup, &limits, error);
    return fine || lodge_error_prefix(error, "guest %s: limits", session->guest->name);
}

/* --- Changing -------------------------------------------------------------------------------- */

gboolean
lodge_limits_set(const LodgeStore *store, const char *name, const LodgeLimitsChange *changes,
                 GError **error)
{
    g_autoptr(GPtrArray) assignments = g_ptr_array_new_with_free_func(g_free);
    for (; changes->key != NULL; changes++) {
        g_ptr_array_add(assignments, g_strdup_printf("limits.%s=%s", changes->key, changes->value));
    }
    g_ptr_array_add(assignments, NULL);
    g_autoptr(GPtrArray)
        done = lodge_set(store, name, (const char *const *)assignments->pdata, error);
    for (guint i = 0; done != NULL && i < done->len; i++) {
        const LodgeChange *change = done->pdata[i];
        if (change->why != NULL) {
            return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                                   "%s is stored, but can't hold now: %s", change->key,
                                   change->why);
        }
    }
    return done != NULL;
}

/* --- Memory ---------------------------------------------------------------------------------- */

#define BLOCK_BYTES (G_GUINT64_CONSTANT(128) << 20) /* Linux takes new memory in such pieces */
#define LEAST_BYTES (G_GUINT64_CONSTANT(32) << 20)

static gboolean
check_size(const LodgeGuest *guest, guint64 total_bytes, guint64 size_bytes, GError **error)
{
    guint64 most = MAX(total_bytes, guest->memory_max_bytes);
    if (size_bytes > most) {
        g_autofree char *text = lodge_size_format(most);
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "it can have %s at most while it runs (memory-max= in [guest] says "
                               "so, from the next start on)",
                               text);
    }
    if (size_bytes < LEAST_BYTES) {
        return lodge_error_set(error, LODGE_ERROR_USAGE, "no guest runs with less than 32M");
    }
    guint64 limit = guest->limits.memory_max_bytes;
    if (limit != 0 && size_bytes + LODGE_QEMU_OVERHEAD_BYTES > limit) {
        g_autofree char *text = lodge_size_format(size_bytes + LODGE_QEMU_OVERHEAD_BYTES);
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "first raise memory-max= in [limits] to %s (`lodge limits %s "
                               "--memory-max %s`)",
                               text, guest->name, text);
    }
    return TRUE;
}

/* Plug memory in: @need_bytes, in whole blocks. */
static gboolean
plug(LodgeQmp *qmp, const LodgeGuest *guest, guint64 total_bytes, guint64 need_bytes,
     gint64 deadline, GError **error)
{
    guint64 size = (need_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
    if (total_bytes + size > guest->memory_max_bytes) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "memory is plugged in by pieces of 128M, and one more passes "
                               "memory-max=");
    }
    g_autoptr(json_t) devices = lodge_qmp_ask(qmp, deadline, error, "query-memory-devices", NULL);
    if (devices == NULL) {
        return FALSE;
    }
    g_autofree char *backend = g_strdup_printf("plugged%zu", json_array_size(devices));
    g_autofree char *device = g_strdup_printf("dimm%zu", json_array_size(devices));
    g_autoptr(GError) problem = NULL;
    if (!lodge_qmp_run(qmp, deadline, error, "object-add", "{s:s, s:s, s:I}", "qom-type",
                       "memory-backend-ram", "id", backend, "size", (json_int_t)size)) {
        return FALSE;
    }
    if (lodge_qmp_run(qmp, deadline, &problem, "device_add", "{s:s, s:s, s:s}", "driver", "pc-dimm",
                      "id", device, "memdev", backend)) {
        return TRUE;
    }
    lodge_qmp_run(qmp, deadline, NULL, "object-del", "{s:s}", "id", backend);
    g_propagate_error(error, g_steal_pointer(&problem));
    return FALSE;
}

/* The memory that it has in sticks: not asked for when it surely has enough. */
static gboolean
find_total(LodgeQmp *qmp, guint64 least_bytes, guint64 size_bytes, gint64 deadline,
           guint64 *out_bytes, GError **error)
{
    *out_bytes = least_bytes;
    if (size_bytes <= least_bytes) {
        return TRUE;
    }
    g_autoptr(json_t)
        sizes = lodge_qmp_ask(qmp, deadline, error, "query-memory-size-summary", NULL);
    *out_bytes = (guint64)lodge_json_int(sizes, "base-memory", 0) +
                 (guint64)lodge_json_int(sizes, "plugged-memory", 0);
    return sizes != NULL;
}

/* What a guest gives back by the balloon QEMU wants to cut out of the file that its memory began
 * with, which others may share: so it can't. */
static gboolean
check_balloon(LodgeQmp *qmp, gint64 deadline, GError **error)
{
    g_autoptr(json_t) file = lodge_qmp_ask(qmp, deadline, NULL, "qom-get", "{s:s, s:s}", "path",
                                           "/objects/ram", "property", "mem-path");
    return file == NULL ||
           lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                           "it began as a copy of another's, of which nothing can be taken while "
                           "it runs (restart it)");
}

gboolean
lodge_memory_set_live(const Session *session, guint64 least_bytes, guint64 size_bytes,
                      GError **error)
{
    const LodgeGuest *guest = session->guest;
    gint64 deadline = lodge_deadline_in(QEMU_TIMEOUT_MS);
    if (!session->state->has_qemu) {
        return session_refuse_state(session, error);
    }
    g_autoptr(LodgeQmp) qmp = session_monitor(session, QEMU_TIMEOUT_MS, error);
    guint64 total = 0;
    if (qmp == NULL || !find_total(qmp, least_bytes, size_bytes, deadline, &total, error) ||
        !check_size(guest, total, size_bytes, error)) {
        return lodge_error_prefix(error, "guest %s: memory", guest->name);
    }
    if (size_bytes < total && !check_balloon(qmp, deadline, error)) {
        return lodge_error_prefix(error, "guest %s: memory", guest->name);
    }
    if (size_bytes > total && !plug(qmp, guest, total, size_bytes - total, deadline, error)) {
        return lodge_error_prefix(error, "guest %s: memory", guest->name);
    }
    return lodge_qmp_run(qmp, deadline, error, "balloon", "{s:I}", "value",
                         (json_int_t)size_bytes) ||
           lodge_error_prefix(error, "guest %s: memory", guest->name);
}

gboolean
lodge_memory_now(const LodgeStore *store, const char *name, const char *size, GError **error)
{
    guint64 size_bytes = 0;
    if (!lodge_size_parse(size, &size_bytes, error)) {
        return FALSE;
    }
    g_autoptr(Session) session = session_begin(store, name, "limits", error);
    return session != NULL && lodge_memory_set_live(session, 0, size_bytes, error);
}
