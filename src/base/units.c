#include "config.h"

#include "base/units.h"

#include <math.h>
#include <string.h>

#include "base/error.h"

static const char size_letters[] = "KMGTPE";

static gboolean
size_unit(const char *unit, guint *out_power)
{
    if (*unit == '\0' || g_ascii_strcasecmp(unit, "b") == 0) {
        *out_power = 0;
        return TRUE;
    }
    const char *letter = strchr(size_letters, g_ascii_toupper(*unit));
    if (letter == NULL || (unit[1] != '\0' && g_ascii_strcasecmp(unit + 1, "ib") != 0 &&
                           g_ascii_strcasecmp(unit + 1, "b") != 0)) {
        return FALSE;
    }
    *out_power = (guint)(letter - size_letters) + 1;
    return TRUE;
}

gboolean
lodge_size_parse(const char *text, guint64 *out_bytes, GError **error)
{
    /* Digits and at most one point: strtod alone would take 0x10, 1e9 and inf too. */
    gsize digits = strspn(text, "0123456789.");
    const char *unit = text + digits;
    while (*unit == ' ') {
        unit++;
    }
    guint power = 0;
    g_autofree char *digits_text = g_strndup(text, digits);
    char *end = NULL;
    double number = g_ascii_strtod(digits_text, &end);
    if (!g_ascii_isdigit(*text) || *end != '\0' || !size_unit(unit, &power)) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "“%s” is not a size (write it like 512M, 20G or 1.5T)", text);
    }
    double bytes = ldexp(number, (int)(10 * power));
    if (bytes >= ldexp(1, 63)) {
        return lodge_error_set(error, LODGE_ERROR_USAGE, "size “%s” is too large", text);
    }
    *out_bytes = (guint64)(bytes + 0.5);
    return TRUE;
}

char *
lodge_size_format(guint64 size_bytes)
{
    guint power = 0;
    while (size_bytes != 0 && size_bytes % 1024 == 0 && power < strlen(size_letters)) {
        size_bytes /= 1024;
        power++;
    }
    if (power == 0) {
        return g_strdup_printf("%" G_GUINT64_FORMAT, size_bytes);
    }
    return g_strdup_printf("%" G_GUINT64_FORMAT "%c", size_bytes, size_letters[power - 1]);
}

char *
lodge_size_human(guint64 size_bytes)
{
    double number = (double)size_bytes;
    guint power = 0;
    while (number >= 1024 && power < strlen(size_letters)) {
        number /= 1024;
        power++;
    }
    if (power == 0) {
        return g_strdup_printf("%" G_GUINT64_FORMAT " B", size_bytes);
    }
    gboolean whole = number >= 99.95 || number == floor(number);
    return g_strdup_printf(whole ? "%.0f %ciB" : "%.1f %ciB", number, size_letters[power - 1]);
}

gboolean
lodge_duration_parse(const char *text, gint64 *out_ms, GError **error)
{
    static const struct {
        const char *unit;
        gint64 ms;
    } units[] = {{"", 1000},     {"ms", 1},      {"s", 1000},    {"m", 60000},
                 {"min", 60000}, {"h", 3600000}, {"d", 86400000}};
    char *end = NULL;
    gint64 number = g_ascii_isdigit(*text) ? g_ascii_strtoll(text, &end, 10) : -1;
    while (end != NULL && *end == ' ') {
        end++;
    }
    for (gsize i = 0; number >= 0 && number < G_MAXINT32 && i < G_N_ELEMENTS(units); i++) {
        if (g_str_equal(end, units[i].unit)) {
            *out_ms = number * units[i].ms;
            return TRUE;
        }
    }
    return lodge_error_set(error, LODGE_ERROR_USAGE,
                           "“%s” is not a time (write it like 90s, 10m or 2h)", text);
}

char *
lodge_duration_human(gint64 time_ms)
{
    gint64 seconds = time_ms / 1000;
    if (time_ms < 10000) {
        return g_strdup_printf("%.2f s", (double)time_ms / 1000);
    }
    if (seconds < 60) {
        return g_strdup_printf("%.1f s", (double)time_ms / 1000);
    }
    if (seconds < 3600) {
        return g_strdup_printf("%d min %d s", (int)(seconds / 60), (int)(seconds % 60));
    }
    if (seconds < 86400) {
        return g_strdup_printf("%d h %d min", (int)(seconds / 3600), (int)(seconds / 60 % 60));
    }
    return g_strdup_printf("%d d %d h", (int)(seconds / 86400), (int)(seconds / 3600 % 24));
}
