/* The store layer's public header: folders, and who may touch them when. */
#pragma once

#include <glib.h>
#include <jansson.h>

#include "base/progress.h"
#include "model/model.h"
#include "store/state.h"

/* Where everything lives. As root /var/lib/lodge and /run/lodge, as a user the XDG folders;
 * LODGE_DIR moves both. */
typedef struct {
    char *root; /* lasting */
    char *run;  /* until the host restarts */
} LodgeStore;

typedef enum { LODGE_STORE_GUESTS, LODGE_STORE_IMAGES } LodgeStoreKind;

/* Find the folders; makes none. USAGE error if LODGE_DIR is not an absolute path. */
LodgeStore *lodge_store_open(GError **error);
void lodge_store_free(LodgeStore *store);

/* Is it the one of the system, /var/lib/lodge? What reaches out of a store's folders (units, the
 * host's network) is done unasked for this one only. */
gboolean lodge_store_is_system(const LodgeStore *store);

/* <root>/guests/NAME[/FILE], <root>/images/NAME[/FILE], <run>/guests/NAME[/FILE]. Free with g_free.
 * Names were checked before: these only join. */
char *lodge_store_guest_path(const LodgeStore *store, const char *name, const char *file);
char *lodge_store_image_path(const LodgeStore *store, const char *name, const char *file);
char *lodge_store_run_path(const LodgeStore *store, const char *name, const char *file);

/* Names in order; none is an empty list. Free with g_strfreev. */
char **lodge_store_guests(const LodgeStore *store, GError **error);
char **lodge_store_images(const LodgeStore *store, GError **error);

/* Read and check a definition. NOT_FOUND, with a suggestion, if there is none of that name. */
LodgeGuest *lodge_store_guest(const LodgeStore *store, const char *name, GError **error);
LodgeImage *lodge_store_image(const LodgeStore *store, const char *name, GError **error);

/* A definition as a key file, comments kept, to be changed and written back. Its text goes to
 * @out_text (may be NULL; g_free). Not checked. Free with g_key_file_free. */
GKeyFile *lodge_store_guest_file(const LodgeStore *store, const char *name, char **out_text,
                                 GError **error);

/* Check @text and make it the definition of the guest, at one stroke. INVALID with line and reason.
 */
gboolean lodge_store_guest_write(const LodgeStore *store, const char *name, const char *text,
                                 GError **error);

/* The definition that the running QEMU was started with, and changed by since: what differs from it
 * in guest.conf waits for the next start. Reading gives NULL without error if there is none. */
GKeyFile *lodge_store_guest_started(const LodgeStore *store, const char *name);
gboolean lodge_store_guest_write_started(const LodgeStore *store, const char *name,
                                         const char *text, GError **error);

/* Give a guest another name. The caller holds the job locks of both. EXISTS if it is taken. */
gboolean lodge_store_guest_rename(const LodgeStore *store, const char *from, const char *to,
                                  GError **error);

/* A new guest's or image's folder while it is being made: hidden, locked by its maker, and removed
 * by the next staging if the maker died. */
typedef struct LodgeStaging LodgeStaging;

/* Begin. EXISTS if @name is there already; BUSY if another command is making it just now. */
LodgeStaging *lodge_staging_begin(const LodgeStore *store, LodgeStoreKind kind, const char *name,
                                  GError **error);
/* The same for one that may be there already: lodge_staging_commit() with @replace. */
LodgeStaging *lodge_staging_begin_over(const LodgeStore *store, LodgeStoreKind kind,
                                       const char *name, GError **error);
/* Where to put the files; borrowed. */
const char *lodge_staging_folder(const LodgeStaging *staging);
/* Give the folder its name, at one stroke. EXISTS if somebody else was quicker. With @replace a
 * folder of that name is exchanged, and the old one removed. */
gboolean lodge_staging_commit(LodgeStaging *staging, gboolean replace, GError **error);
/* Removes what was not committed. */
void lodge_staging_free(LodgeStaging *staging);

/* Paths of folders whose makers or removers were killed, and remove all these, of guests and
 * images. Free with g_strfreev. */
char **lodge_staging_abandoned(const LodgeStore *store, LodgeStoreKind kind);
void lodge_staging_sweep(const LodgeStore *store);

/* Remove a guest's or image's folder: it loses its name at one stroke, then its files. */
gboolean lodge_store_remove(const LodgeStore *store, LodgeStoreKind kind, const char *name,
                            GError **error);

/* A verb at work on a guest. At most one at a time; what it is stands in job.json for `list`. */
typedef struct LodgeJob LodgeJob;

/* Take the guest's job lock. BUSY, naming the verb and process that has it, otherwise; and while it
 * is backed up, for verbs that change what its disks consist of. */
LodgeJob *lodge_job_begin(const LodgeStore *store, const char *guest, const char *verb,
                          GError **error);
/* Publishes each stage it is told as the job's, and tells it to @next (may be NULL). Borrowed: it
 * is there as long as the job. */
LodgeProgress *lodge_job_progress(LodgeJob *job, LodgeProgress *next);
/* Shall the guest's run folder go when the job ends? For jobs that leave no guest behind. */
void lodge_job_remove_run_folder(LodgeJob *job, gboolean goes);
void lodge_job_end(LodgeJob *job);
/* A backup at work: beside the job lock, which it holds only while it begins and ends, it has this
 * one from its beginning to its end. Whoever would change what the disks consist of is refused
 * meanwhile by lodge_job_begin(), BUSY; verbs that start and end the guest are not. BUSY if another
 * backup of it is at work. */
LodgeJob *lodge_job_begin_backup(const LodgeStore *store, const char *guest, GError **error);
/* Is another process at work on a backup of the guest? */
gboolean lodge_store_is_backed_up(const LodgeStore *store, const char *guest);
/* lodge_job_begin() as soon as who has the lock lets go; TIMEOUT, or BUSY, at @deadline. */
LodgeJob *lodge_job_begin_within(const LodgeStore *store, const char *guest, const char *verb,
                                 gint64 deadline, GError **error);
/* Remove the run folders of guests that are gone: their `create` or `delete` was killed. */
void lodge_job_sweep(const LodgeStore *store);

/* A guest's `create` has not ended: the guest's state says so, until the end of it, or of the
 * guest. A new staging of that name forgets it, and so does the folder's removal; a rename takes it
 * along. begin's errors: those of writing a file. */
gboolean lodge_store_creating_begin(const LodgeStore *store, const char *guest, GError **error);
void lodge_store_creating_end(const LodgeStore *store, const char *guest);
gboolean lodge_store_is_creating(const LodgeStore *store, const char *guest);
/* Their names, sorted; of some the guest may be gone. NULL if there are none. Free with g_strfreev.
 */
char **lodge_store_creating(const LodgeStore *store);

/* Look at what the keeper published and which locks are held; asks no process, so it can't wait. */
LodgeGuestState *lodge_store_state(const LodgeStore *store, const char *guest);
/* The same for @guests, sorted by name as lodge_store_guests() gives them, in their order; quicker,
 * because those that have nothing running are told by one look. Free with g_ptr_array_unref. */
GPtrArray *lodge_store_states(const LodgeStore *store, const char *const *guests);
/* Tell the guest's keeper that somebody watches: it publishes figures for the next 10 s. One that
 * isn't there, or isn't ours, hears nothing. Never waits. */
void lodge_store_watch(const LodgeStore *store, const char *guest);

/* Append a line to <run>/events.jsonl: time, guest, event and @details (stolen; may be NULL).
 * Failure is ignored: an event is news, not state. */
void lodge_event_append(const LodgeStore *store, const char *guest, const char *event,
                        json_t *details);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeStore, lodge_store_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeStaging, lodge_staging_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeJob, lodge_job_end)
