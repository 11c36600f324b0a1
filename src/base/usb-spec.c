#include "config.h"

#include "base/usb-spec.h"

#include <string.h>

#include "base/base.h"

static gboolean
parse_number(const char **text, guint base, guint most, guint *out_number)
{
    char *end = NULL;
    if (!(base == 16 ? g_ascii_isxdigit(**text) : g_ascii_isdigit(**text))) {
        return FALSE;
    }
    guint64 number = g_ascii_strtoull(*text, &end, base);
    *out_number = (guint)MIN(number, G_MAXUINT);
    *text = end;
    return number <= most;
}

/* "1-2.3": bus, then a port of each hub on the way. */
static gboolean
is_port(const char *text)
{
    guint number = 0;
    gboolean fine = parse_number(&text, 10, 999, &number) && *text == '-';
    while (fine && (*text == '-' || *text == '.')) {
        text++;
        fine = parse_number(&text, 10, 255, &number);
    }
    return fine && *text == '\0';
}

/* "046d:c52b" or "046d:c52b:SERIAL". */
static gboolean
parse_product(const char *text, LodgeUsbSpec *spec)
{
    if (!parse_number(&text, 16, 0xffff, &spec->vendor) || *text++ != ':' ||
        !parse_number(&text, 16, 0xffff, &spec->product)) {
        return FALSE;
    }
    if (*text == ':') {
        text++;
        return *text != '\0' &&
               g_strlcpy(spec->serial, text, sizeof spec->serial) < sizeof spec->serial;
    }
    return *text == '\0';
}

static gboolean
parse_address(const char *text, LodgeUsbSpec *spec)
{
    return parse_number(&text, 10, 999, &spec->bus) && *text++ == '.' &&
           parse_number(&text, 10, 127, &spec->address) && *text == '\0';
}

gboolean
lodge_usb_spec_parse(const char *text, LodgeUsbSpec *out_spec, GError **error)
{
    LodgeUsbSpec spec = {.kind = LODGE_USB_BY_PRODUCT};
    gboolean fine = FALSE;
    if (strchr(text, ':') != NULL) {
        fine = parse_product(text, &spec);
    } else if (strchr(text, '-') != NULL) {
        spec.kind = LODGE_USB_BY_PORT;
        fine = is_port(text) && g_strlcpy(spec.port, text, sizeof spec.port) < sizeof spec.port;
    } else {
        spec.kind = LODGE_USB_BY_ADDRESS;
        fine = parse_address(text, &spec);
    }
    if (!fine) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "“%s” is no USB device: write VENDOR:PRODUCT[:SERIAL] "
                               "(046d:c52b), a port (1-2.3) or BUS.ADDRESS (1.4); `lodge usb "
                               "list` shows them",
                               text);
    }
    *out_spec = spec;
    return TRUE;
}
