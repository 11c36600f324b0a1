/* Theory of operation: a machine is parked.
 *
 *   hidden folder ─ disk, seed ─ QEMU, its NIC's link down ─ answers ─ idle ─ stands still ─ state
 *   saved, QEMU ends ─ the folder gets its name
 *
 * No keeper watches it: QEMU is tied to us, and ends when we do. Its memory is a file that QEMU
 * writes as the guest does, so nothing has to be copied in the end; holes are what the guest never
 * touched. Whoever is killed leaves a hidden folder, which the next one to look removes. */
#include "config.h"

#include "ops/park.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "image/image.h"
#include "image/warm.h"
#include "net/define.h"
#include "net/net.h"
#include "ops/definition.h"
#include "ops/host-key.h"
#include "ops/machine-state.h"
#include "ops/parked.h"
#include "qemu/spawn.h"
#include "qmp/agent.h"

enum {
    QMP_TIMEOUT_MS = 30000,
    BOOT_TIMEOUT_MS = 10 * 60 * 1000,
    AGENT_TIMEOUT_MS = 30000,
    FORGET_TIMEOUT_MS = 2 * 60 * 1000,
    SAVE_TIMEOUT_MS = 5 * 60 * 1000,
    END_TIMEOUT_MS = 30000,
    ENDING_MS = 500, /* from its last word on the monitor to its end */
    IDLE_LOOK_MS = 500,
    IDLE_PERCENT = 8, /* of a CPU; an emulated guest that does nothing takes some 2 */
    IDLE_LOOKS = 4,   /* in a row */
    IDLE_AT_MOST_MS = 90000,
    STAT_LIMIT_BYTES = 4096,
    LOG_LIMIT_BYTES = 1 << 20,
    OUTPUT_LIMIT_BYTES = 65536,
    FULL_BELOW_BYTES = 64 << 10,
};
#define SPARE_BYTES (G_GUINT64_CONSTANT(512) << 20)

typedef struct {
    const LodgeStore *store;
    LodgeProgress *progress;
    LodgeWarmMaking *making;
    const char *folder;
    LodgeGuest *guest;
    LodgeImage *image;
    ParkedShape shape;
    int memory_fd;
    pid_t pid;
    int pid_fd;
    LodgeQmp *qmp;
    char *host_key;
    gboolean asks_anew;
} Parking;

/* QEMU first: it must be gone before its folder is. */
static void
parking_clear(Parking *parking)
{
    g_clear_pointer(&parking->qmp, lodge_qmp_free);
    if (parking->pid_fd >= 0) {
        lodge_pid_fd_signal(parking->pid_fd, SIGKILL, NULL);
        waitpid(parking->pid, NULL, 0);
        lodge_fd_clear(&parking->pid_fd);
    }
    lodge_fd_clear(&parking->memory_fd);
    parked_shape_clear(&parking->shape);
    g_clear_pointer(&parking->guest, lodge_guest_free);
    g_clear_pointer(&parking->image, lodge_image_free);
    g_clear_pointer(&parking->making, lodge_warm_making_free);
    g_clear_pointer(&parking->host_key, g_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Parking, parking_clear)

static char *
file_of(const Parking *parking, const char *name)
{
    return g_build_filename(parking->folder, name, NULL);
}

/* What a guest of that shape would be; nobody's keys, no password, a name that nobody has. */
static gboolean
define(Parking *parking, const LodgePark *what, GError **error)
{
    static const char *const networks[] = {"user", NULL};
    static char *no_keys[] = {NULL};
    LodgeCreate create = {.name = "parked",
                          .image = what->image,
                          .cpus = what->cpus,
                          .memory = what->memory,
                          .accel = what->accel};
    Definition definition = {.store = parking->store,
                             .what = &create,
                             .image_name = what->image,
                             .keys = no_keys,
                             .networks = networks};
    parking->image = lodge_store_image(parking->store, what->image, error);
    if (parking->image == NULL || !definition_check(parking->store, &create, error)) {
        return FALSE;
    }
    parking->guest = definition_guest(&definition, parking->image, error);
    if (parking->guest == NULL) {
        return FALSE;
    }
    const char *network = what->network != NULL ? what->network
                          : geteuid() == 0      ? LODGE_NETWORK_DEFAULT
                                                : LODGE_NETWORK_USER;
    LodgeNic *nic = parking->guest->nics->pdata[0];
    g_free(nic->network);
    nic->network = g_strdup(network);
    return parked_shape(parking->store, parking->guest, parking->image, &parking->shape, error);
}

static gboolean
prepare(Parking *parking, const LodgePark *what, GError **error)
{
    static char *no_keys[] = {NULL};
    static const char *const networks[] = {"user", NULL};
    LodgeCreate create = {.name = "parked", .image = what->image};
    Definition definition = {.store = parking->store,
                             .what = &create,
                             .image_name = what->image,
                             .keys = no_keys,
                             .networks = networks};
    g_autoptr(LodgeWarm) none = NULL;
    if (!definition_write(&definition, parking->folder, &none, error)) {
        return FALSE;
    }
    g_autofree char *path = file_of(parking, LODGE_WARM_MEMORY);
    uid_t uid = lodge_qemu_uid(parking->folder);
    parking->memory_fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (parking->memory_fd < 0 ||
        ftruncate(parking->memory_fd, (off_t)parking->guest->memory_bytes) < 0 ||
        (geteuid() == 0 && fchown(parking->memory_fd, uid, uid) < 0)) {
        return lodge_error_errno(error, errno, "%s", path);
    }
    return TRUE;
}

/* Why something failed: QEMU ended, or the disk is full. Its memory is a file: who writes to a
 * place of it that there is no room for is ended by the kernel, or hangs. */
static gboolean
explain(const Parking *parking, GError **error)
{
    siginfo_t end = {0};
    gboolean has_ended = parking->pid_fd >= 0 &&
                         lodge_wait_fd(parking->pid_fd, POLLIN, lodge_deadline_in(ENDING_MS),
                                       NULL) &&
                         waitid(P_PID, (id_t)parking->pid, &end, WEXITED | WNOHANG | WNOWAIT) == 0;
    gboolean by_signal = has_ended && end.si_code != CLD_EXITED;
    if (lodge_interrupt_signal() != 0) {
        return FALSE;
    }
    if ((by_signal && end.si_status == SIGBUS) ||
        lodge_file_system_free(parking->folder) < FULL_BELOW_BYTES) {
        g_clear_error(error);
        return lodge_error_errno(error, ENOSPC, "%s", parking->folder);
    }
    if (!has_ended) {
        return FALSE;
    }
    g_autofree char *path = file_of(parking, "qemu.log");
    g_autofree char *text = lodge_file_read(path, LOG_LIMIT_BYTES, NULL, NULL);
    g_autofree char *words = lodge_text_last_line(text != NULL ? text : "");
    g_clear_error(error);
    return *words != '\0' ? lodge_error_set(error, LODGE_ERROR_FAILED, "QEMU: %s", words)
                          : lodge_error_set(error, LODGE_ERROR_FAILED, "QEMU ended (%s %d)",
                                            by_signal ? "signal" : "status", end.si_status);
}

static gboolean
start(Parking *parking, GError **error)
{
    if (parking->shape.tap.link != NULL) {
        parking->shape.tap.fd = lodge_net_tap_alone(error);
        if (parking->shape.tap.fd < 0) {
            return FALSE;
        }
    }
    g_autofree char *log = file_of(parking, "qemu.log");
    g_autofree char *monitor = file_of(parking, "jobs.qmp");
    g_autoptr(LodgeCommand) command = parked_command(&parking->shape, parking->folder,
                                                     parking->memory_fd, LODGE_BEGIN_PAUSED, error);
    LodgeSpawn how = {.log_path = log,
                      .lock_fd = lodge_warm_lock(parking->making),
                      .drop = geteuid() == 0,
                      .uid = lodge_qemu_uid(parking->folder),
                      .tied = TRUE};
    if (command == NULL ||
        !lodge_qemu_spawn(command, &how, &parking->pid, &parking->pid_fd, error)) {
        return FALSE;
    }
    gint64 deadline = lodge_deadline_in(QMP_TIMEOUT_MS);
    parking->qmp = lodge_qmp_connect(monitor, deadline, error);
    return parking->qmp != NULL &&
           lodge_qmp_run(parking->qmp, deadline, error, "set_link", "{s:s, s:b}", "name", "n0",
                         "up", 0) &&
           lodge_qmp_run(parking->qmp, deadline, error, "cont", NULL);
}

static gboolean
is_open(const json_t *event, gpointer data)
{
    (void)data;
    const json_t *about = lodge_qmp_event_data(event);
    return g_str_equal(lodge_json_string(about, "id", ""), "agent") &&
           lodge_json_bool(about, "open", FALSE);
}

static guint64
cpu_ticks(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/stat", (int)pid);
    g_autofree char *text = lodge_file_read(path, STAT_LIMIT_BYTES, NULL, NULL);
    const char *rest = text != NULL ? strrchr(text, ')') : NULL;
    unsigned long long user = 0, system = 0;
    if (rest == NULL || sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu",
                               &user, &system) != 2) {
        return 0;
    }
    return user + system;
}

/* What a guest does after it answers (journals, caches, timers) each of its forks would do. */
static gboolean
await_idle(const Parking *parking, GError **error)
{
    gint64 deadline = lodge_deadline_in(IDLE_AT_MOST_MS);
    guint64 most = (guint64)sysconf(_SC_CLK_TCK) * IDLE_LOOK_MS * IDLE_PERCENT / 100000;
    for (guint idle = 0; idle < IDLE_LOOKS && !lodge_deadline_passed(deadline);) {
        guint64 before = cpu_ticks(parking->pid);
        if (!lodge_wait_for(IDLE_LOOK_MS, error)) {
            return FALSE;
        }
        idle = cpu_ticks(parking->pid) - before <= most ? idle + 1 : 0;
    }
    return TRUE;
}

/* What belongs to one guest goes from its disk, so that a copy that boots from it makes its own;
 * the programs that run have theirs in memory, until each copy is given another.
 *
 * With systemd, what no copy needs before it answers sleeps, and the agent wakes it afterwards
 * (src/agent/settle.c): the journal, which stands in a folder named after the machine and begins
 * anew, and the clock's service. Timers begin two minutes later, and as on a machine that was never
 * on: else a copy made on another day would do all daily work at once. */
static gboolean
forget_itself(Parking *parking, LodgeAgent *agent, GError **error)
{
    static const char script[] =
        "rm -f /etc/ssh/ssh_host_* /var/lib/dbus/machine-id\n"
        "[ ! -s /etc/machine-id ] || : >/etc/machine-id\n"
        "place=$(grep -l '^PARTNAME=host-key$' /sys/class/block/*/uevent 2>/dev/null)\n"
        "place=${place%%/uevent*}\n"
        "[ -z \"$place\" ] || dd if=/dev/zero of=\"/dev/${place##*/}\" bs=512 count=1 2>/dev/null\n"
        "for name in /proc/[0-9]*/comm; do\n"
        "    read -r word <\"$name\" && [ \"$word\" = udhcpc ] && echo asks-anew && break\n"
        "done 2>/dev/null\n"
        "sync\n"
        "[ -d /run/lodge-agent ] && [ -d /run/systemd/system ] || exit 0\n"
        "printf '[Timer]\\nOnActiveSec=2min\\nUnit=timers.target\\n' "
        ">/run/systemd/system/lodge-timers.timer\n"
        "mkdir -p /run/systemd/system/timers.target.d\n"
        "systemctl list-units --type=timer --state=active --plain --no-legend |\n"
        "    while read -r unit word; do printf '[Unit]\\nWants=%s\\n' \"$unit\"; done "
        ">/run/systemd/system/timers.target.d/lodge.conf\n"
        "systemctl daemon-reload\n"
        "systemctl stop timers.target '*.timer'\n"
        "rm -f /var/lib/systemd/timers/stamp-*\n"
        "systemctl start lodge-timers.timer\n"
        "for unit in systemd-timesyncd systemd-journald; do\n"
        "    group=/sys/fs/cgroup/system.slice/$unit.service\n"
        "    [ -e $group/cgroup.freeze ] || continue\n"
        "    echo $group/cgroup.freeze >>/run/lodge-agent/asleep\n"
        "    echo 1 >$group/cgroup.freeze\n"
        "done\n"
        "rm -rf /run/log/journal/* /var/log/journal/*\n"
        "sync\n";
    const char *const argv[] = {"sh", "-c", script, NULL};
    const LodgeAgentExec program = {.argv = argv};
    g_auto(LodgeAgentResult) result = {0};
    if (!lodge_agent_run(agent, &program, NULL, 0, OUTPUT_LIMIT_BYTES,
                         lodge_deadline_in(FORGET_TIMEOUT_MS), &result, error)) {
        return FALSE;
    }
    parking->asks_anew = g_str_has_prefix(result.output, "asks-anew");
    return TRUE;
}

static gboolean
await_ready(Parking *parking, GError **error)
{
    lodge_progress_stage(parking->progress, "it boots and answers");
    g_autoptr(json_t) event = lodge_qmp_wait_event(parking->qmp, "VSERPORT_CHANGE", is_open, NULL,
                                                   lodge_deadline_in(BOOT_TIMEOUT_MS), error);
    if (event == NULL) {
        return FALSE;
    }
    lodge_fault("park-booted");
    g_autoptr(LodgeAgent)
        agent = lodge_agent_connect(parking->folder, lodge_deadline_in(AGENT_TIMEOUT_MS), error);
    if (agent == NULL) {
        return lodge_error_prefix(error, "lodge-agent, which gives guests their identity");
    }
    parking->host_key = host_key_find(agent, lodge_deadline_in(AGENT_TIMEOUT_MS));
    lodge_progress_stage(parking->progress, "it comes to rest");
    return await_idle(parking, error) && forget_itself(parking, agent, error) &&
           lodge_agent_sync(agent, lodge_deadline_in(AGENT_TIMEOUT_MS), error);
}

static gboolean
save(Parking *parking, GError **error)
{
    g_autofree char *state = file_of(parking, LODGE_WARM_STATE);
    gint64 deadline = lodge_deadline_in(SAVE_TIMEOUT_MS);
    lodge_progress_stage(parking->progress, "it is put on disk");
    if (!lodge_qmp_run(parking->qmp, deadline, error, "stop", NULL) ||
        !machine_state_write(parking->qmp, state, deadline, error)) {
        return FALSE;
    }
    lodge_fault("park-saved");
    if (!lodge_pid_fd_signal(parking->pid_fd, SIGTERM, error) ||
        !lodge_wait_fd(parking->pid_fd, POLLIN, lodge_deadline_in(END_TIMEOUT_MS), error)) {
        return FALSE;
    }
    waitpid(parking->pid, NULL, 0);
    lodge_fd_clear(&parking->pid_fd);
    lodge_autofd fd = open(state, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    return fd >= 0 ? machine_state_cut_networks(fd, error)
                   : lodge_error_errno(error, errno, "%s", state);
}

/* Nobody writes its memory any more, and it is the store's. */
static gboolean
finish(Parking *parking, GError **error)
{
    static const char *const kept[] = {LODGE_WARM_DISK, LODGE_WARM_MEMORY, LODGE_WARM_STATE, NULL};
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autofree char *made = g_date_time_format(now, "%Y-%m-%dT%H:%M:%SZ");
    if ((geteuid() == 0 && fchown(parking->memory_fd, 0, 0) < 0) ||
        fchmod(parking->memory_fd, 0600) < 0) {
        return lodge_error_errno(error, errno, "%s", parking->folder);
    }
    g_auto(GStrv) files = lodge_dir_names(parking->folder, error);
    for (gsize i = 0; files != NULL && files[i] != NULL; i++) {
        g_autofree char *path = file_of(parking, files[i]);
        if (!g_strv_contains(kept, files[i])) {
            unlink(path);
        }
    }
    const LodgeWarm warm = {.made = made,
                            .disk = parking->image->disk,
                            .qemu = parking->shape.qemu,
                            .kvm = parking->shape.kvm,
                            .tap = parking->shape.tap.link != NULL,
                            .cpus = parking->guest->cpus,
                            .memory_bytes = parking->guest->memory_bytes,
                            .disk_bytes = parking->image->size_bytes,
                            .host_key = parking->host_key,
                            .asks_anew = parking->asks_anew};
    gboolean fine = files != NULL && lodge_warm_commit(parking->making, &warm, error);
    lodge_fault("park-whole");
    return fine;
}

static gboolean
check_room(const Parking *parking, GError **error)
{
    guint64 need = parking->guest->memory_bytes + SPARE_BYTES;
    if (lodge_warm_make_room(parking->store, need)) {
        return TRUE;
    }
    g_autofree char *wanted = lodge_size_human(need);
    return lodge_error_set(error, LODGE_ERROR_FAILED,
                           "it may take %s of disk space, which are not free", wanted);
}

static gboolean
park(Parking *parking, const LodgePark *what, GError **error)
{
    if (!define(parking, what, error)) {
        return FALSE;
    }
    g_autoptr(LodgeWarm) there = lodge_warm_find(parking->store, what->image, parking->shape.key);
    if (there != NULL && !what->again) {
        return TRUE;
    }
    parking->making = lodge_warm_begin(parking->store, what->image, parking->shape.key, error);
    if (parking->making == NULL || !check_room(parking, error)) {
        return FALSE;
    }
    parking->folder = lodge_warm_folder(parking->making);
    lodge_progress_stage(parking->progress, "QEMU starts");
    lodge_fault("park-begun");
    if (!prepare(parking, what, error)) {
        return FALSE;
    }
    if (!start(parking, error) || !await_ready(parking, error) || !save(parking, error) ||
        !finish(parking, error)) {
        return explain(parking, error);
    }
    lodge_event_append(parking->store, what->image, "parked", NULL);
    return TRUE;
}

gboolean
lodge_park(const LodgeStore *store, const LodgePark *what, LodgeProgress *progress, GError **error)
{
    g_auto(Parking) parking = {.store = store,
                               .progress = progress,
                               .shape = PARKED_SHAPE_NONE,
                               .memory_fd = -1,
                               .pid_fd = -1};
    return (lodge_image_ensure(store, what->image, progress, error) &&
            park(&parking, what, error)) ||
           lodge_error_prefix(error, "Parking image %s", what->image);
}

gboolean
lodge_unpark(const LodgeStore *store, const char *image, guint *out_count, GError **error)
{
    g_autoptr(LodgeImage) there = lodge_store_image(store, image, error);
    if (there == NULL) {
        return FALSE;
    }
    g_autoptr(GPtrArray) all = lodge_warm_list(store, image);
    for (guint i = 0; i < all->len; i++) {
        if (!lodge_warm_drop(store, image, all->pdata[i], error)) {
            return FALSE;
        }
    }
    lodge_warm_sweep(store, image);
    *out_count = all->len;
    return TRUE;
}
