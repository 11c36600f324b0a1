/* What the image layer's files share. */
#pragma once

#include "image/image.h"
#include "image/making.h"
#include "qemu/img.h"

/* Run a helper program of ours: @argv[0] is its name. Its JSON lines {"done":N,"total":N} go to
 * @progress. */
gboolean lodge_image_run_helper(const char *const *argv, LodgeProgress *progress, char **out_output,
                                GError **error);

/* <root>/@folder/@name if it is there, else the one that is shipped. Free with g_free. */
char *lodge_image_resource(const LodgeStore *store, const char *folder, const char *name);

/* Is that much space free? FAILED with the mend if not. @what is "building tiny". */
gboolean lodge_image_check_space(const LodgeStore *store, guint64 need_bytes, const char *what,
                                 GError **error);

/* lodge_image_build() and _pull(), with the choice. */
gboolean lodge_image_build_as(const LodgeStore *store, const char *name, LodgeMakingMode mode,
                              LodgeProgress *progress, GError **error);
gboolean lodge_image_pull_as(const LodgeStore *store, const char *name, LodgeMakingMode mode,
                             LodgeProgress *progress, GError **error);

/* Is there an image of that name, with its disk? */
gboolean lodge_image_is_here(const LodgeStore *store, const char *name);

/* Who makes overlays of an image, and who removes its files, holds this lock. -1 on error. */
int lodge_image_lock(const LodgeStore *store, const char *name, GError **error);
void lodge_image_unlock(const LodgeStore *store, const char *name, int lock_fd);

/* Names of the image's files that neither image.conf nor any guest needs; none if that can't be
 * told, because image.conf or some guest's definition can't be read. Free with g_strfreev. */
char **lodge_image_unneeded(const LodgeStore *store, const char *name, GError **error);

/* Remove files of the image that neither image.conf nor any guest needs. The lock is held. */
void lodge_image_prune(const LodgeStore *store, const char *name);

/* Remove parked machines that no guest can be made from any more, where no guest stands on their
 * disks: @needed has the names of those, below @image_folder; @disk is the image's present one. The
 * lock is held. */
void lodge_warm_prune(const char *image_folder, const char *disk, GHashTable *needed);

/* Find the checksum of @file in @text, which is what sha256sum or BSD's sha256 wrote, signed or
 * not, or just the digits. @alone: the text is published for that file only, so its only line
 * counts whatever name is in it. Returns lower-case digits, free with g_free; INVALID if there is
 * none, or two that differ. */
char *lodge_checksum_find(const char *text, LodgeChecksumKind kind, const char *file,
                          gboolean alone, GError **error);

/* The hrefs of the disks in an OVF description, in its order. Plain file names; free with
 * g_strfreev. INVALID if there is none, or one isn't such. */
char **lodge_ovf_disks(const char *text, gsize length, GError **error);

/* cloud-init's three files and Lodge's own, as text. Free with g_free; USAGE errors. */
char *lodge_seed_text(const LodgeSeed *seed, GError **error);
char *lodge_cloud_meta_data(const LodgeSeed *seed, GError **error);
char *lodge_cloud_user_data(const LodgeSeed *seed, GError **error);
char *lodge_cloud_network_config(const LodgeSeed *seed, GError **error);
