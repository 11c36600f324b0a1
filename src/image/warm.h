/* Parked machines: an image that was booted once to where it answers, and saved there with its
 * memory. A guest of the same shape begins where it stands (ops/forking.h).
 *
 * <root>/images/NAME/warm/KEY-TIME/parked.json   what it is; without it the folder is none any more
 *                                  root.qcow2    its disk, an overlay of the image's: never written
 *                                                again, and what its guests' disks are overlays of
 *                                  memory        its memory, sparse
 *                                  state         its devices', as QEMU's migration writes them
 * KEY stands for all that must be the same for the saved state to be read: see ops/parked.h. One
 * that is dropped loses parked.json first; its disk stays as long as guests stand on it. */
#pragma once

#include <glib.h>

#include "store/store.h"

#define LODGE_WARM_DISK "root.qcow2"
#define LODGE_WARM_MEMORY "memory"
#define LODGE_WARM_STATE "state"

typedef struct {
    char *folder; /* absolute */
    char *key;
    char *made; /* ISO 8601 */
    char *disk; /* the image's, on which its own stands */
    char *qemu; /* version */
    gboolean kvm;
    gboolean tap; /* its NIC is on a tap, as on all of Lodge's networks; else user-mode */
    guint cpus;
    guint64 memory_bytes;
    guint64 disk_bytes;      /* as its guest sees it */
    char *host_key;          /* where in the guest the SSH server has its key; NULL: it has none */
    gboolean asks_anew;      /* its DHCP client asks for another lease only when told to */
    guint64 allocated_bytes; /* on disk; filled when it is read */
} LodgeWarm;

void lodge_warm_free(LodgeWarm *warm);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeWarm, lodge_warm_free)

/* The parked machines of an image, LodgeWarm * that it frees, in the order of their folders' names.
 */
GPtrArray *lodge_warm_list(const LodgeStore *store, const char *image);

/* The newest one with that key; NULL, without error, if there is none. */
LodgeWarm *lodge_warm_find(const LodgeStore *store, const char *image, const char *key);

/* Make @path, a guest's disk of @size_bytes, an overlay of the parked machine's. NOT_FOUND if it
 * was dropped meanwhile. As for lodge_image_overlay() @path must be below <root>/guests. */
gboolean lodge_warm_overlay(const LodgeStore *store, const char *image, const LodgeWarm *warm,
                            const char *path, guint64 size_bytes, GError **error);

/* A parked machine being made: a hidden folder, locked by its maker, that is removed by whoever
 * next parks, drops or changes the image if the maker died. */
typedef struct LodgeWarmMaking LodgeWarmMaking;

/* BUSY if somebody is making it just now. */
LodgeWarmMaking *lodge_warm_begin(const LodgeStore *store, const char *image, const char *key,
                                  GError **error);
/* Where its files go, and the descriptor of its lock; borrowed. */
const char *lodge_warm_folder(const LodgeWarmMaking *making);
int lodge_warm_lock(const LodgeWarmMaking *making);
/* Describe it (folder, key and allocated_bytes of @warm are not looked at) and give it its name.
 * Those of the same shape that can't be used any more go. BUSY if the image was made anew
 * meanwhile. */
gboolean lodge_warm_commit(LodgeWarmMaking *making, const LodgeWarm *warm, GError **error);
void lodge_warm_making_free(LodgeWarmMaking *making);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeWarmMaking, lodge_warm_making_free)

/* Drop it: from now on no guest is made from it. */
gboolean lodge_warm_drop(const LodgeStore *store, const char *image, const LodgeWarm *warm,
                         GError **error);

/* Remove what makers left that died. */
void lodge_warm_sweep(const LodgeStore *store, const char *image);

/* Drop parked machines, the oldest of all images first, until @need_bytes are free on the store's
 * file system. FALSE if that much can't be had. */
gboolean lodge_warm_make_room(const LodgeStore *store, guint64 need_bytes);
