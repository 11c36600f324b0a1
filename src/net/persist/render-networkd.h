/* What netplan's renderer asks of networkd's notes. Private to this layer. */
#pragma once

#include "net/persist/render.h"

/* The .network file that configures the uplink; NULL: none. Free with g_free. */
char *lodge_networkd_file(const LodgeRender *render);
/* By what number a DHCP server knows the uplink's lease; 0: by none. It is made of the link's name,
 * so the bridge must be told it to get the same addresses. */
guint32 lodge_networkd_iaid(const LodgeRender *render);
