/* Networks' definitions: making, changing and removing them, and starting by name. */
#pragma once

#include "net/net.h"

/* The network that guests of root get unless told; made when it is first needed. */
#define LODGE_NETWORK_DEFAULT "default"
/* What every installation has without a definition: QEMU's own user-mode network. */
#define LODGE_NETWORK_USER "user"

/* What a guest that names no network is put on: LODGE_NETWORK_DEFAULT, running, or else
 * LODGE_NETWORK_USER. If the default was tried and did not come up, the reason goes to @out_why
 * (else NULL; free with g_free). */
const char *lodge_network_default(const LodgeStore *store, char **out_why);

/* Define a network. @settings are "KEY=VALUE", NULL-terminated; prefixes that are not given are
 * chosen. EXISTS if the name or a prefix is taken. */
gboolean lodge_network_create(const LodgeStore *store, const char *name,
                              const char *const *settings, GError **error);

/* Change keys; "KEY=" takes one back to its default. Comments are kept. What a running network does
 * changes when it is started anew. */
gboolean lodge_network_set(const LodgeStore *store, const char *name, const char *const *settings,
                           GError **error);

/* Replace the whole definition by an edited one; @out_is_same tells that it says what it did.
 * INVALID with line and reason, or EXISTS if it overlaps something; it is then as it was. */
gboolean lodge_network_set_text(const LodgeStore *store, const char *name, const char *text,
                                gboolean *out_is_same, GError **error);

/* Remove the definition, stopping the network. BUSY, naming them, if guests use it. */
gboolean lodge_network_delete(const LodgeStore *store, const char *name, GError **error);

/* The network's definition; the default's is made if there is none. */
LodgeNetwork *lodge_network_find(const LodgeStore *store, const char *name, GError **error);

/* Bring a network up, or mend it, and serve it. With the default's name it is made first, if there
 * is none. */
gboolean lodge_network_start(const LodgeStore *store, const char *name, GError **error);
gboolean lodge_network_stop(const LodgeStore *store, const char *name, gboolean force,
                            GError **error);

/* A lease that dnsmasq gave, as far as its file tells. */
typedef struct {
    gint64 until; /* seconds of the Unix epoch; 0: for ever */
    char *address;
    char *mac; /* IPv4 only; else "" */
    char *name;
} LodgeLease;

/* Of LodgeLease *, in the file's order; a network that never served has none. */
GPtrArray *lodge_network_leases(const LodgeStore *store, const char *name, GError **error);
