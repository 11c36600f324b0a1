/* Just enough of OVF: <References><File ovf:href="disk.vmdk"/>. */
#include "config.h"

#include <string.h>

#include "image/internal.h"

typedef struct {
    gboolean in_references;
    char *first_disk;
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
        char **slot = is_disk(values[i]) ? &reading->first_disk : &reading->first_file;
        if (g_str_equal(plain(names[i]), "href") && *slot == NULL) {
            *slot = g_strdup(values[i]);
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

char *
lodge_ovf_disk(const char *text, gsize length, GError **error)
{
    static const GMarkupParser parser = {.start_element = on_start, .end_element = on_end};
    Reading reading = {0};
    g_autoptr(GError) problem = NULL;
    g_autoptr(GMarkupParseContext) context = g_markup_parse_context_new(&parser, 0, &reading, NULL);
    gboolean parsed = g_markup_parse_context_parse(context, text, (gssize)length, &problem) &&
                      g_markup_parse_context_end_parse(context, &problem);
    g_autofree char *disk = g_steal_pointer(&reading.first_disk);
    g_autofree char *file = g_steal_pointer(&reading.first_file);
    if (!parsed) {
        g_autofree char *shown = lodge_text_printable(problem->message);
        lodge_error_set(error, LODGE_ERROR_INVALID, "its OVF description: %s", shown);
        return NULL;
    }
    const char *href = disk != NULL ? disk : file;
    if (href == NULL || *href == '\0' || *href == '.' || *href == '-' ||
        strchr(href, '/') != NULL) {
        g_autofree char *shown = lodge_text_printable(href != NULL ? href : "");
        lodge_error_set(error, LODGE_ERROR_INVALID,
                        "its OVF description names no disk beside it (“%s”)", shown);
        return NULL;
    }
    return g_strdup(href);
}
