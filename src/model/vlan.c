#include "config.h"

#include "model/vlan.h"

#include "base/base.h"

enum {
    MOST_VLAN = 4094, /* 0 and 4095 are not for use */
};

static gboolean
parse_one(const char *word, LodgeVlanRange *out_range)
{
    g_auto(GStrv) ends = g_strsplit(word, "-", 2);
    const char *last_word = ends[0] != NULL && ends[1] != NULL ? ends[1] : ends[0];
    guint64 first = 0;
    guint64 last = 0;
    if (ends[0] == NULL || !g_ascii_string_to_unsigned(ends[0], 10, 1, MOST_VLAN, &first, NULL) ||
        !g_ascii_string_to_unsigned(last_word, 10, first, MOST_VLAN, &last, NULL)) {
        return FALSE;
    }
    *out_range = (LodgeVlanRange){(guint16)first, (guint16)last};
    return TRUE;
}

GArray *
lodge_vlans_parse(const char *text, GError **error)
{
    g_autoptr(GArray) ranges = g_array_new(FALSE, FALSE, sizeof(LodgeVlanRange));
    g_auto(GStrv) words = g_strsplit_set(text, " ,", -1);
    for (gsize i = 0; words[i] != NULL; i++) {
        LodgeVlanRange range;
        if (*words[i] == '\0') {
            continue;
        }
        if (!parse_one(words[i], &range)) {
            lodge_error_set(error, LODGE_ERROR_USAGE,
                            "“%s” is neither a VLAN (1 to %d) nor a range of them (20-29)",
                            words[i], MOST_VLAN);
            return NULL;
        }
        g_array_append_val(ranges, range);
    }
    return g_steal_pointer(&ranges);
}

char *
lodge_vlans_format(const GArray *ranges)
{
    GString *text = g_string_new(NULL);
    for (guint i = 0; i < ranges->len; i++) {
        LodgeVlanRange range = g_array_index(ranges, LodgeVlanRange, i);
        g_string_append_printf(text, "%s%u", i > 0 ? " " : "", range.first);
        if (range.last != range.first) {
            g_string_append_printf(text, "-%u", range.last);
        }
    }
    return g_string_free(text, FALSE);
}
