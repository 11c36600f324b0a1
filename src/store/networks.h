/* Networks on disk: a file each, <root>/networks/NAME.conf; what they do now, in
 * <run>/networks/NAME. */
#pragma once

#include <glib.h>

#include "store/store.h"

/* <root>/networks/NAME.conf, <run>/networks/NAME[/FILE]. Free with g_free. */
char *lodge_store_network_path(const LodgeStore *store, const char *name);
char *lodge_store_network_run_path(const LodgeStore *store, const char *name, const char *file);

/* Names in order; none is an empty list. Free with g_strfreev. */
char **lodge_store_networks(const LodgeStore *store, GError **error);

/* Read and check a definition. NOT_FOUND, with a suggestion, if there is none of that name. */
LodgeNetwork *lodge_store_network(const LodgeStore *store, const char *name, GError **error);

/* Names of the guests with a NIC on the network. Free with g_strfreev. */
char **lodge_store_network_users(const LodgeStore *store, const char *network, GError **error);
