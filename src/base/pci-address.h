/* Which of a host's PCI devices is meant. */
#pragma once

#include <glib.h>

/* "0000:01:00.0", with its end. */
#define LODGE_PCI_ADDRESS_BYTES 13

/* Read "01:00.0" or "0000:01:00.0", in either case, as sysfs writes it. USAGE error that shows
 * both. */
gboolean lodge_pci_address_parse(const char *text, char out_address[LODGE_PCI_ADDRESS_BYTES],
                                 GError **error);
