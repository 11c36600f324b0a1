#include "config.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/base.h"
#include "host/check.h"

enum {
    VERSION_TIMEOUT_MS = 3000,
    CACHE_LIMIT_BYTES = 4096,
};

/* "7.2.22" out of "QEMU emulator version 7.2.22 (Debian …)"; free with g_free; NULL. */
static char *
version_in(const char *text)
{
    static const char before[] = "version ";
    const char *start = strstr(text, before);
    if (start == NULL || !g_ascii_isdigit(start[strlen(before)])) {
        return NULL;
    }
    start += strlen(before);
    return g_strndup(start, strspn(start, "0123456789."));
}

gboolean
lodge_qemu_is_at_least(const char *version, const char *least)
{
    guint major = 0, minor = 0, least_major = 0, least_minor = 0;
    sscanf(version, "%u.%u", &major, &minor);
    sscanf(least, "%u.%u", &least_major, &least_minor);
    return major > least_major || (major == least_major && minor >= least_minor);
}

char *
lodge_qemu_identity(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0
               ? g_strdup_printf("%s %" G_GINT64_FORMAT ".%09ld %" G_GINT64_FORMAT, path,
                                 (gint64)info.st_mtim.tv_sec, info.st_mtim.tv_nsec,
                                 (gint64)info.st_size)
               : NULL;
}

char *
lodge_qemu_version(const char *path, const char *cache_folder)
{
    g_autofree char *key = lodge_qemu_identity(path);
    if (key == NULL) {
        return NULL;
    }
    g_autofree char *file = cache_folder != NULL
                                ? g_build_filename(cache_folder, "qemu-version.json", NULL)
                                : NULL;
    g_autoptr(json_t) saved = file != NULL ? lodge_json_read(file, CACHE_LIMIT_BYTES, NULL) : NULL;
    const char *known = lodge_json_string(saved, "version", NULL);
    if (known != NULL && strcmp(lodge_json_string(saved, "key", ""), key) == 0) {
        return g_strdup(known);
    }
    const char *argv[] = {path, "--version", NULL};
    g_autofree char *output = NULL;
    if (!lodge_process_run_argv(argv, VERSION_TIMEOUT_MS, &output, NULL)) {
        return NULL;
    }
    char *version = version_in(output);
    if (version != NULL && file != NULL) {
        g_autoptr(json_t) fresh = json_pack("{s:s, s:s}", "key", key, "version", version);
        lodge_json_publish(file, fresh, NULL);
    }
    return version;
}
