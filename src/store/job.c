#include "config.h"

#include "store/store.h"

#include <errno.h>
#include <unistd.h>

#include "base/base.h"

enum {
    LOCK_ATTEMPTS = 10,
    MENDING_MS = 10000,
    LOOK_MS = 20,
};

#define JOB "job"
#define BACKUP "backup"

/* Verbs that leave alone what the disks of a guest consist of: a backup goes on beside them. */
static const char *const beside_backup[] = {
    "backup", "cdrom",      "check",      "edit",       "kill",        "limits",
    "pause",  "pci attach", "pci detach", "resume",     "restart",     "set",
    "start",  "stop",       "usb attach", "usb detach", "usb plugged", NULL};

struct LodgeJob {
    LodgeProgress progress;
    LodgeProgress *next;
    char *guest;
    char *verb;
    char *folder;
    char *path;
    char *lock_path;
    int lock_fd;
    gboolean folder_goes;
};

static void
publish(LodgeJob *job, const char *stage)
{
    g_autoptr(json_t)
        value = json_pack("{s:s, s:s, s:i, s:I}", "verb", job->verb, "stage", stage, "pid",
                          (int)getpid(), "since_ms", (json_int_t)(g_get_real_time() / 1000));
    lodge_json_publish(job->path, value, NULL);
}

/* "guest web1 is busy: `lodge stop` (process 4711) is at work on it (`kill 4711` interrupts it)" */
static void
explain_holder(const LodgeJob *job, GError **error)
{
    if (error == NULL || !g_error_matches(*error, LODGE_ERROR, LODGE_ERROR_BUSY)) {
        return;
    }
    g_clear_error(error);
    g_autoptr(json_t) holder = lodge_json_read(job->path, 4096, NULL);
    if (holder == NULL) {
        /* It has the lock, and has not said yet who it is. */
        lodge_error_set(error, LODGE_ERROR_BUSY,
                        "guest %s is busy: another command is at work on it", job->guest);
        return;
    }
    int pid = (int)lodge_json_int(holder, "pid", 0);
    lodge_error_set(error, LODGE_ERROR_BUSY,
                    "guest %s is busy: `lodge %s` (process %d) is at work on it (`kill %d` "
                    "interrupts that)",
                    job->guest, lodge_json_string(holder, "verb", "…"), pid, pid);
}

/* What a killed command left the keeper has put in order at once, by `check`: nobody need hear of
 * that. Nor of a holder that has not said yet who it is: it may be that one. */
static gboolean
may_be_mending(const LodgeJob *job)
{
    pid_t pid = 0;
    lodge_autofd fd = lodge_lock_open_holder(job->lock_path, &pid);
    g_autoptr(json_t) holder = lodge_json_read(job->path, 4096, NULL);
    return fd < 0 || lodge_json_int(holder, "pid", 0) != pid ||
           g_str_equal(lodge_json_string(holder, "verb", ""), "check");
}

/* Whoever sweeps may take the folder away between its making and the lock's. */
static gboolean
take_lock(LodgeJob *job, GError **error)
{
    g_autoptr(GError) problem = NULL;
    gint64 deadline = lodge_deadline_in(MENDING_MS);
    for (int attempt = 0; attempt < LOCK_ATTEMPTS; attempt++) {
        g_clear_error(&problem);
        if (!lodge_dir_make(job->folder, 0755, error)) {
            return FALSE;
        }
        job->lock_fd = lodge_lock_take(job->lock_path, &problem);
        if (job->lock_fd >= 0) {
            /* The keeper waits for the end of who has it. */
            return lodge_lock_write_pid(job->lock_fd, 0, error);
        }
        if (g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_BUSY) && may_be_mending(job) &&
            !lodge_deadline_passed(deadline)) {
            if (!lodge_wait_for(LOOK_MS, error)) {
                return FALSE;
            }
            attempt--;
            continue;
        }
        if (!g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_NOT_FOUND)) {
            break;
        }
    }
    g_propagate_error(error, g_steal_pointer(&problem));
    return FALSE;
}

static void
sweep_one(const LodgeStore *store, const char *guest)
{
    g_autofree char *definition = lodge_store_guest_path(store, guest, NULL);
    g_autofree char *folder = lodge_store_run_path(store, guest, NULL);
    g_autofree char *lock_path = lodge_store_run_path(store, guest, "job.lock");
    g_autofree char *qemu_path = lodge_store_run_path(store, guest, "qemu.lock");
    if (g_file_test(definition, G_FILE_TEST_EXISTS) || lodge_lock_is_held(qemu_path)) {
        return;
    }
    lodge_autofd lock_fd = lodge_lock_take(lock_path, NULL);
    /* Looked at again, now that nobody else can be making or ending it. */
    if (lock_fd >= 0 && !g_file_test(definition, G_FILE_TEST_EXISTS)) {
        lodge_tree_remove(folder, NULL);
    }
}

void
lodge_job_sweep(const LodgeStore *store)
{
    g_autofree char *folder = g_build_filename(store->run, "guests", NULL);
    g_auto(GStrv) names = lodge_dir_names(folder, NULL);
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        sweep_one(store, names[i]);
    }
}

/* @kind tells its files. */
static LodgeJob *
begin(const LodgeStore *store, const char *guest, const char *verb, const char *kind,
      GError **error)
{
    g_autoptr(LodgeJob) job = g_new0(LodgeJob, 1);
    g_autofree char *lock = g_strconcat(kind, ".lock", NULL);
    g_autofree char *file = g_strconcat(kind, ".json", NULL);
    job->lock_fd = -1;
    job->guest = g_strdup(guest);
    job->verb = g_strdup(verb);
    job->folder = lodge_store_run_path(store, guest, NULL);
    job->path = g_build_filename(job->folder, file, NULL);
    job->lock_path = g_build_filename(job->folder, lock, NULL);
    if (!take_lock(job, error)) {
        explain_holder(job, error);
        return NULL;
    }
    publish(job, "");
    return g_steal_pointer(&job);
}

/* 0: nobody. A holder that has not written its id yet has just begun. */
static pid_t
backup_holder(const LodgeStore *store, const char *guest)
{
    pid_t pid = 0;
    g_autofree char *path = lodge_store_run_path(store, guest, BACKUP ".lock");
    lodge_autofd fd = lodge_lock_open_holder(path, &pid);
    return fd < 0 ? 0 : pid;
}

gboolean
lodge_store_is_backed_up(const LodgeStore *store, const char *guest)
{
    pid_t holder = backup_holder(store, guest);
    return holder != 0 && holder != getpid();
}

LodgeJob *
lodge_job_begin(const LodgeStore *store, const char *guest, const char *verb, GError **error)
{
    g_autoptr(LodgeJob) job = begin(store, guest, verb, JOB, error);
    if (job != NULL && !g_strv_contains(beside_backup, verb) &&
        lodge_store_is_backed_up(store, guest)) {
        int pid = (int)backup_holder(store, guest);
        lodge_error_set(error, LODGE_ERROR_BUSY,
                        "guest %s is busy: `lodge backup` (process %d) reads its disks, and `lodge "
                        "%s` would change what they consist of (`kill %d` ends the backup; start, "
                        "stop, kill, pause and set work meanwhile)",
                        guest, pid, verb, pid);
        return NULL;
    }
    return g_steal_pointer(&job);
}

LodgeJob *
lodge_job_begin_backup(const LodgeStore *store, const char *guest, GError **error)
{
    return begin(store, guest, "backup", BACKUP, error);
}

LodgeJob *
lodge_job_begin_within(const LodgeStore *store, const char *guest, const char *verb,
                       gint64 deadline, GError **error)
{
    g_autofree char *lock = lodge_store_run_path(store, guest, JOB ".lock");
    for (;;) {
        g_autoptr(GError) problem = NULL;
        LodgeJob *job = lodge_job_begin(store, guest, verb, &problem);
        if (job != NULL) {
            return job;
        }
        if (!g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_BUSY)) {
            g_propagate_error(error, g_steal_pointer(&problem));
            return NULL;
        }
        lodge_autofd holder = lodge_lock_open_holder(lock, NULL);
        if (holder >= 0 ? !lodge_wait_fd(holder, POLLIN, deadline, error)
                        : !lodge_wait_for(LOOK_MS, error)) {
            return NULL;
        }
        if (lodge_deadline_passed(deadline)) {
            g_propagate_error(error, g_steal_pointer(&problem));
            return NULL;
        }
    }
}

static void
on_stage(LodgeProgress *progress, const char *words)
{
    LodgeJob *job = (LodgeJob *)progress;
    publish(job, words);
    lodge_progress_stage(job->next, "%s", words);
}

static void
on_part(LodgeProgress *progress, double fraction, const char *words)
{
    lodge_progress_part(((LodgeJob *)progress)->next, fraction, words);
}

static void
on_failed(LodgeProgress *progress)
{
    lodge_progress_failed(((LodgeJob *)progress)->next);
}

LodgeProgress *
lodge_job_progress(LodgeJob *job, LodgeProgress *next)
{
    job->progress = (LodgeProgress){on_stage, on_part, on_failed};
    job->next = next;
    return &job->progress;
}

void
lodge_job_remove_run_folder(LodgeJob *job, gboolean goes)
{
    job->folder_goes = goes;
}

void
lodge_job_end(LodgeJob *job)
{
    if (job == NULL) {
        return;
    }
    if (job->lock_fd >= 0) {
        unlink(job->path);
        if (job->folder_goes) {
            lodge_tree_remove(job->folder, NULL);
        }
        lodge_fd_clear(&job->lock_fd);
    }
    g_free(job->guest);
    g_free(job->verb);
    g_free(job->folder);
    g_free(job->path);
    g_free(job->lock_path);
    g_free(job);
}
