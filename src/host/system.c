#include "config.h"

#include "host/system.h"

#include <string.h>

#include "base/base.h"

enum { SMALL_FILE_BYTES = 8 << 20 };

char *
lodge_system_path(const char *sysroot, const char *path)
{
    return g_strconcat(sysroot, path, NULL);
}

char *
lodge_system_read(const char *sysroot, const char *path)
{
    g_autofree char *full = lodge_system_path(sysroot, path);
    char *text = lodge_file_read(full, SMALL_FILE_BYTES, NULL, NULL);
    return text != NULL ? g_strchomp(text) : NULL;
}

char *
lodge_system_text(const char *sysroot, const char *path)
{
    char *text = lodge_system_read(sysroot, path);
    return text != NULL ? text : g_strdup("");
}

gboolean
lodge_system_exists(const char *sysroot, const char *path)
{
    g_autofree char *full = lodge_system_path(sysroot, path);
    return g_file_test(full, G_FILE_TEST_EXISTS);
}

gint64
lodge_system_number(const char *sysroot, const char *path, gint64 fallback)
{
    g_autofree char *text = lodge_system_read(sysroot, path);
    gint64 value = 0;
    if (text == NULL || !g_ascii_string_to_signed(text, 10, G_MININT64, G_MAXINT64, &value, NULL)) {
        return fallback;
    }
    return value;
}

char *
lodge_system_field(const char *text, const char *name)
{
    gsize length = strlen(name);
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, length) != 0) {
            continue;
        }
        const char *colon = line + length + strspn(line + length, " \t");
        if (*colon == ':') {
            return g_strstrip(g_strndup(colon + 1, strcspn(colon + 1, "\n")));
        }
    }
    return NULL;
}

gboolean
lodge_system_has_word(const char *text, const char *word)
{
    gsize length = strlen(word);
    for (const char *at = text; at != NULL && (at = strstr(at, word)) != NULL; at += length) {
        gboolean starts = at == text || g_ascii_isspace(at[-1]);
        if (starts && (at[length] == '\0' || g_ascii_isspace(at[length]))) {
            return TRUE;
        }
    }
    return FALSE;
}

char *
lodge_system_container(const char *sysroot)
{
    static const struct {
        const char *path;
        const char *kind;
    } marks[] = {{"/.dockerenv", "docker"}, {"/run/.containerenv", "podman"}};
    /* A machine may be booted from a container's image, marks and all: the kernel's first process
     * namespace, whose number is fixed, tells. */
    g_autofree char *space = lodge_system_path(sysroot, "/proc/self/ns/pid");
    g_autofree char *number = g_file_read_link(space, NULL);
    if (g_strcmp0(number, "pid:[4026531836]") == 0) {
        return NULL;
    }
    g_autofree char *kind = lodge_system_read(sysroot, "/run/systemd/container");
    if (kind != NULL && *kind != '\0') {
        return lodge_text_printable(kind);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(marks); i++) {
        if (lodge_system_exists(sysroot, marks[i].path)) {
            return g_strdup(marks[i].kind);
        }
    }
    /* Readable by root only, and strings end with NUL: the first or a later one. */
    g_autofree char *path = lodge_system_path(sysroot, "/proc/1/environ");
    gsize length = 0;
    g_autofree char *text = lodge_file_read(path, SMALL_FILE_BYTES, &length, NULL);
    for (gsize at = 0; text != NULL && at < length; at += strlen(text + at) + 1) {
        if (g_str_has_prefix(text + at, "container=") && text[at + 10] != '\0') {
            return lodge_text_printable(text + at + 10);
        }
    }
    return NULL;
}

char *
lodge_system_program(const char *sysroot, const char *name)
{
    static const char *const folders[] = {
        "/usr/local/sbin", "/usr/local/bin", "/usr/sbin",    "/usr/bin",
        "/sbin",           "/bin",           "/usr/libexec",
    };
    if (*sysroot == '\0') {
        return lodge_program_find(name);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(folders); i++) {
        g_autofree char *path = g_strconcat(sysroot, folders[i], "/", name, NULL);
        if (g_file_test(path, G_FILE_TEST_IS_EXECUTABLE)) {
            return g_steal_pointer(&path);
        }
    }
    return NULL;
}
