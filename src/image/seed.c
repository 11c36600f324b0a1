#include "config.h"

#include <string.h>

#include "image/internal.h"

enum {
    SEED_MODE = 0600,
};

static gboolean
put_line(GString *text, const char *key, const char *value, GError **error)
{
    if (value == NULL) {
        return TRUE;
    }
    for (const char *c = value; *c != '\0'; c++) {
        if (g_ascii_iscntrl(*c) && *c != '\t') {
            return lodge_error_set(error, LODGE_ERROR_USAGE,
                                   "seed: %s: control characters and newlines don't belong here",
                                   key);
        }
    }
    g_string_append_printf(text, "%s=%s\n", key, value);
    return TRUE;
}

char *
lodge_seed_text(const LodgeSeed *seed, GError **error)
{
    g_autoptr(GString) text = g_string_new(NULL);
    if (seed->user_data != NULL) {
        lodge_error_set(error, LODGE_ERROR_USAGE,
                        "user data is for images with cloud-init, which this one hasn't");
        return NULL;
    }
    if (!put_line(text, "hostname", seed->hostname, error) ||
        !put_line(text, "user", seed->user, error) ||
        !put_line(text, "password-hash", seed->password_hash, error)) {
        return NULL;
    }
    for (gsize i = 0; seed->authorized_keys != NULL && seed->authorized_keys[i] != NULL; i++) {
        if (!put_line(text, "authorized-key", seed->authorized_keys[i], error)) {
            return NULL;
        }
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}

static gboolean
write_text(const char *folder, const char *name, const char *text, GError **error)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    return lodge_file_write(path, text, strlen(text), SEED_MODE, LODGE_WRITE_DEFAULT, error);
}

static gboolean
write_parts(const char *folder, const LodgeSeed *seed, GError **error)
{
    g_autofree char *meta_data = lodge_cloud_meta_data(seed, error);
    g_autofree char *user_data = meta_data != NULL ? lodge_cloud_user_data(seed, error) : NULL;
    g_autofree char *network = user_data != NULL ? lodge_cloud_network_config(seed, error) : NULL;
    return network != NULL && write_text(folder, "meta-data", meta_data, error) &&
           write_text(folder, "user-data", user_data, error) &&
           write_text(folder, "network-config", network, error);
}

/* The parts are written into a hidden folder beside the ISO, which holds a password's hash too. */
static gboolean
write_iso(const char *folder, const LodgeSeed *seed, GError **error)
{
    g_autofree char *iso = g_build_filename(folder, "seed.iso", NULL);
    g_autofree char *parts = g_build_filename(folder, ".seed.XXXXXX", NULL);
    if (g_mkdtemp_full(parts, 0700) == NULL) {
        return lodge_error_errno(error, errno, "Creating folder %s", parts);
    }
    const char *const argv[] = {"lodge-archive", "seed", iso, parts, NULL};
    gboolean fine = write_parts(parts, seed, error) &&
                    lodge_image_run_helper(argv, NULL, NULL, error);
    lodge_tree_remove(parts, NULL);
    return fine;
}

gboolean
lodge_seed_write(const char *folder, const LodgeSeed *seed, GError **error)
{
    switch ((LodgeProvision)seed->kind) {
    case LODGE_PROVISION_NONE:
        return TRUE;
    case LODGE_PROVISION_LODGE: {
        g_autofree char *text = lodge_seed_text(seed, error);
        return text != NULL && write_text(folder, "seed.txt", text, error);
    }
    case LODGE_PROVISION_NOCLOUD:
        return write_iso(folder, seed, error) || lodge_error_prefix(error, "seed");
    }
    return lodge_error_set(error, LODGE_ERROR_INVALID, "no such kind of seed: %d", seed->kind);
}
