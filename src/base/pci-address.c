#include "config.h"

#include "base/pci-address.h"

#include <string.h>

#include "base/base.h"

/* One of x by a digit, all else by itself. */
static gboolean
has_shape(const char *text, const char *shape)
{
    for (; *shape != '\0'; shape++, text++) {
        gboolean fine = *shape == 'x'   ? g_ascii_isxdigit(*text)
                        : *shape == '7' ? *text >= '0' && *text <= '7'
                                        : *text == *shape;
        if (!fine) {
            return FALSE;
        }
    }
    return *text == '\0';
}

gboolean
lodge_pci_address_parse(const char *text, char out_address[LODGE_PCI_ADDRESS_BYTES], GError **error)
{
    gboolean is_short = has_shape(text, "xx:xx.7");
    if (!is_short && !has_shape(text, "xxxx:xx:xx.7")) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "“%s” is no PCI device: write its address, 0000:01:00.0 or 01:00.0 "
                               "(`lodge pci list` shows them)",
                               text);
    }
    g_autofree char *whole = g_strconcat(is_short ? "0000:" : "", text, NULL);
    g_autofree char *lower = g_ascii_strdown(whole, -1);
    g_strlcpy(out_address, lower, LODGE_PCI_ADDRESS_BYTES);
    return TRUE;
}
