/* From what `create` is told to a guest's folder. Private to this layer. */
#pragma once

#include <glib.h>

#include "image/warm.h"
#include "ops/ops.h"

/* What a guest is made with. */
typedef struct {
    const LodgeStore *store;
    const LodgeCreate *what;
    const char *image_name;      /* NULL: none */
    char **keys;                 /* public SSH keys, Lodge's own first */
    const char *const *networks; /* a NIC for each */
    gboolean may_fork;           /* may it begin as a parked machine? */
} Definition;

/* Check all values as the user wrote them. USAGE errors name the option, NOT_FOUND the network that
 * is none. Touches nothing. */
gboolean definition_check(const LodgeStore *store, const LodgeCreate *what, GError **error);

/* The guest that it would be of @image (NULL: of none), with nothing written. */
LodgeGuest *definition_guest(const Definition *definition, const LodgeImage *image, GError **error);

/* Write guest.conf, the root disk, the firmware's variables and the seed into @folder. If it can
 * begin as a parked machine its disk is one of that's, which goes to @out_warm (else NULL; free
 * with lodge_warm_free). */
gboolean definition_write(const Definition *definition, const char *folder, LodgeWarm **out_warm,
                          GError **error);

/* The keys that shall get in: Lodge's own, then those of the files given, or else of the calling
 * user. Free with g_strfreev. */
char **definition_keys(const LodgeStore *store, const LodgeCreate *what, GError **error);
