#include "config.h"

#include <string.h>

#include "image/internal.h"

/* A new image's settings: those of @like, or what holds for a disk nothing is known of. */
static LodgeImage *
settings(const char *name, const LodgeImage *like, GError **error)
{
    static const char defaults[] = "[image]\nsize=1M\n";
    g_autofree char *text = like != NULL ? lodge_image_format(like) : g_strdup(defaults);
    LodgeImage *image = lodge_image_parse(name, text, strlen(text), error);
    if (image != NULL) {
        g_clear_pointer(&image->disk, g_free);
        g_clear_pointer(&image->more_disks, g_free);
        g_clear_pointer(&image->kernel, g_free);
        g_clear_pointer(&image->initrd, g_free);
        g_clear_pointer(&image->kernel_arguments, g_free);
    }
    return image;
}

static gboolean
import_file(LodgeMaking *making, const LodgeImageImport *import, GError **error)
{
    g_autofree char *file = g_canonicalize_filename(import->file, NULL);
    g_autofree char *shown = lodge_text_printable(file);
    g_autofree char *origin = g_strdup_printf("file %s", shown);
    lodge_progress_stage(making->progress, "reading %s", shown);
    return lodge_making_adopt(making, file, import->format, import->trusted, error) &&
           lodge_making_finish(making, origin, error);
}

gboolean
lodge_image_import(const LodgeStore *store, const char *name, const LodgeImageImport *import,
                   LodgeProgress *progress, GError **error)
{
    if (!lodge_image_name_check(name, error)) {
        return FALSE;
    }
    g_autoptr(LodgeImage) image = settings(name, import->like, error);
    if (image == NULL) {
        return FALSE;
    }
    g_auto(LodgeMaking) making = {0};
    return (lodge_making_begin(&making, store, g_steal_pointer(&image), LODGE_MAKING_NEW, progress,
                               error) &&
            import_file(&making, import, error)) ||
           lodge_error_prefix(error, "importing image %s", name);
}
