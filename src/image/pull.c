/* Theory of operation: the checksums are fetched first, into memory as it were; the image's digits
 * name its file in <root>/cache, so that a download that the network broke is taken up where it
 * ended, by whichever command comes next, and never mixed with another version's. A download ended
 * otherwise leaves nothing: lodge-fetch removes what is wrong, we what was interrupted. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "image/internal.h"

enum {
    DIGITS_IN_NAME = 16,
    CHECKSUMS_LIMIT_BYTES = 4 << 20,
};

static const char *const checksum_options[] = {
    [LODGE_CHECKSUM_SHA256] = "--sha256",
    [LODGE_CHECKSUM_SHA512] = "--sha512",
};

/* The last part of a URL's path. */
static char *
file_of_url(const char *url)
{
    g_autofree char *path = g_strndup(url, strcspn(url, "?#"));
    g_autofree char *name = g_path_get_basename(path);
    return g_uri_unescape_string(name, "/");
}

/* The digits that the image must have. */
static char *
fetch_checksum(LodgeMaking *making, GError **error)
{
    const LodgeImage *image = making->image;
    g_autofree char *path = lodge_making_path(making, "checksums");
    g_autofree char *file = file_of_url(image->url);
    const char *const argv[] = {"lodge-fetch", "--limit", "4M", image->checksums_url, path, NULL};
    lodge_progress_stage(making->progress, "fetching the checksums");
    g_autofree char *text = lodge_image_run_helper(argv, NULL, NULL, error)
                                ? lodge_file_read(path, CHECKSUMS_LIMIT_BYTES, NULL, error)
                                : NULL;
    gboolean alone = g_str_has_prefix(image->checksums_url, image->url);
    char *digits = text != NULL && file != NULL
                       ? lodge_checksum_find(text, image->checksum_kind, file, alone, error)
                       : NULL;
    if (text != NULL && digits == NULL) {
        lodge_error_prefix(error, "%s", image->checksums_url);
    }
    return digits;
}

/* Other versions' remains, which nobody would take up. */
static void
sweep_cache(const char *folder, const char *prefix, const char *keep)
{
    g_auto(GStrv) names = lodge_dir_names(folder, NULL);
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        if (g_str_has_prefix(names[i], prefix) && g_strcmp0(names[i], keep) != 0) {
            g_autofree char *path = g_build_filename(folder, names[i], NULL);
            unlink(path);
        }
    }
}

static char *
choose_place(const LodgeMaking *making, const char *digits, GError **error)
{
    g_autofree char *folder = g_build_filename(making->store->root, "cache", NULL);
    g_autofree char *prefix = g_strdup_printf("pull-%s=", making->image->name);
    g_autofree char *name = g_strdup_printf("%s%.*s", prefix, DIGITS_IN_NAME, digits);
    if (!lodge_dir_make(folder, 0755, error)) {
        return NULL;
    }
    sweep_cache(folder, prefix, name);
    return g_build_filename(folder, name, NULL);
}

static gboolean
fetch_image(LodgeMaking *making, const char *digits, const char *place, GError **error)
{
    const LodgeImage *image = making->image;
    const char *const checked[] = {
        "lodge-fetch", checksum_options[image->checksum_kind], digits, image->url, place, NULL};
    const char *const unchecked[] = {"lodge-fetch", image->url, place, NULL};
    g_autoptr(GError) problem = NULL;
    lodge_progress_stage(making->progress, "fetching the image");
    if (lodge_image_run_helper(image->checksum_kind != LODGE_CHECKSUM_NONE ? checked : unchecked,
                               making->progress, NULL, &problem)) {
        return TRUE;
    }
    if (g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_INTERRUPTED)) {
        unlink(place);
    }
    g_propagate_error(error, g_steal_pointer(&problem));
    return FALSE;
}

static gboolean
pull(LodgeMaking *making, GError **error)
{
    const LodgeImage *image = making->image;
    gboolean checked = image->checksum_kind != LODGE_CHECKSUM_NONE;
    if (checked != (image->checksums_url != NULL)) {
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "its catalogue entry must have both checksums and checksum-kind, or "
                               "neither");
    }
    if (!checked && g_str_has_prefix(image->url, "http://")) {
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "neither checksums nor https: nothing says that what comes is "
                               "genuine");
    }
    g_autofree char *digits = checked ? fetch_checksum(making, error) : g_strdup("unchecked");
    g_autofree char *place = digits != NULL ? choose_place(making, digits, error) : NULL;
    if (place == NULL || !fetch_image(making, digits, place, error)) {
        return FALSE;
    }
    /* Out of the cache: from here on it goes with the staging. */
    g_autofree char *file = lodge_making_path(making, "fetched");
    if (rename(place, file) < 0) {
        return lodge_error_errno(error, errno, "Naming %s", file);
    }
    g_autofree char *origin = g_strdup(image->url);
    return lodge_making_adopt(making, file, NULL, FALSE, error) &&
           lodge_making_finish(making, origin, error);
}

gboolean
lodge_image_pull_as(const LodgeStore *store, const char *name, LodgeMakingMode mode,
                    LodgeProgress *progress, GError **error)
{
    g_autoptr(LodgeImage) entry = lodge_catalogue_find(store, name, error);
    if (entry == NULL) {
        return FALSE;
    }
    if (entry->url == NULL) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "image %s can't be pulled: its catalogue entry has no URL", name);
    }
    /* Pulled is the distribution's image: it learns nothing from Lodge's own seed. */
    if (entry->recipe != NULL) {
        entry->provision = LODGE_PROVISION_NOCLOUD;
        entry->agent = FALSE;
    }
    g_auto(LodgeMaking) making = {0};
    return (lodge_making_begin(&making, store, g_steal_pointer(&entry), mode, progress, error) &&
            pull(&making, error)) ||
           lodge_error_prefix(error, "pulling image %s", name);
}

gboolean
lodge_image_pull(const LodgeStore *store, const char *name, LodgeProgress *progress, GError **error)
{
    return lodge_image_pull_as(store, name, LODGE_MAKING_ANEW, progress, error);
}
