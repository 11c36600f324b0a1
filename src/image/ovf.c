/* Just enough of OVF: <References><File ovf:href="disk.vmdk"/>…. */
#include "config.h"

#include <string.h>

#include "image/internal.h"

enum {
    DISKS_AT_MOST = 16,
};

typedef struct {
    gboolean in_references;
    GPtrArray *disks; /* char * */
    char *first_file;
} Reading;

/* "ovf:File" and "File" are the same to us. */
static const char *
plain(const char *name)
{
    const char *colon = strrchr(name, ':');
    return colon != NULL ? colon + 1 : name;
}

static gboolean
is_disk(const char *href)
{
    static const char *const endings[] = {".vmdk", ".qcow2", ".img", ".raw",
                                          ".vhd",  ".vhdx",  ".vdi", ".vmdk.gz"};
    for (gsize i = 0; i < G_N_ELEMENTS(endings); i++) {
        if (g_str_has_suffix(href, endings[i])) {
            return TRUE;
        }
    }
    return FALSE;
}

static void
on_start(GMarkupParseContext *context, const char *element, const char **names, const char **values,
         gpointer data, GError **error)
{
    (void)context;
    (void)error;
    Reading *reading = data;
    if (g_str_equal(plain(element), "References")) {
        reading->in_references = TRUE;
    }
    if (!reading->in_references || !g_str_equal(plain(element), "File")) {
        return;
    }
    for (gsize i = 0; names[i] != NULL; i++) {
        if (!g_str_equal(plain(names[i]), "href")) {
            continue;
        }
        if (is_disk(values[i])) {
            g_ptr_array_add(reading->disks, g_strdup(values[i]));
        } else if (reading->first_file == NULL) {
            reading->first_file = g_strdup(values[i]);
        }
    }
}

static void
on_end(GMarkupParseContext *context, const char *element, gpointer data, GError **error)
{
    (void)context;
    (void)error;
    if (g_str_equal(plain(element), "References")) {
        ((Reading *)data)->in_references = FALSE;
    }
}

static gboolean
check_href(const char *href, GError **error)
{
    if (*href != '\0' && *href != '.' && *href != '-' && strchr(href, '/') == NULL) {
        return TRUE;
    }
    g_autofree char *shown = lodge_text_printable(href);
    return lodge_error_set(error, LODGE_ERROR_INVALID,
                           "its OVF description names no disk beside it (“%s”)", shown);
}

char **
lodge_ovf_disks(const char *text, gsize length, GError **error)
{
    static const GMarkupParser parser = {.start_element = on_start, .end_element = on_end};
    g_autoptr(GPtrArray) disks = g_ptr_array_new_with_free_func(g_free);
    Reading reading = {.disks = disks};
    g_autoptr(GError) problem = NULL;
    g_autoptr(GMarkupParseContext) context = g_markup_parse_context_new(&parser, 0, &reading, NULL);
    gboolean parsed = g_markup_parse_context_parse(context, text, (gssize)length, &problem) &&
                      g_markup_parse_context_end_parse(context, &problem);
    g_autofree char *file = g_steal_pointer(&reading.first_file);
    if (!parsed) {
        g_autofree char *shown = lodge_text_printable(problem->message);
        lodge_error_set(error, LODGE_ERROR_INVALID, "its OVF description: %s", shown);
        return NULL;
    }
    /* A disk need not be called like one. */
    if (disks->len == 0) {
        g_ptr_array_add(disks, file != NULL ? g_steal_pointer(&file) : g_strdup(""));
    }
    if (disks->len > DISKS_AT_MOST) {
        lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                        "its OVF description names %u disks; Lodge takes %d", disks->len,
                        DISKS_AT_MOST);
        return NULL;
    }
    for (guint i = 0; i < disks->len; i++) {
        if (!check_href(disks->pdata[i], error)) {
            return NULL;
        }
    }
    g_ptr_array_add(disks, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&disks), FALSE);
}
