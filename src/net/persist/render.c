#include "config.h"

#include "net/persist/render.h"

#include <string.h>

#include "base/base.h"

void
lodge_host_file_free(LodgeHostFile *file)
{
    if (file != NULL) {
        g_free(file->path);
        g_free(file->text);
        g_free(file->target);
        g_free(file);
    }
}

static const LodgeHostFile *
find(const GPtrArray *files, const char *path)
{
    for (guint i = 0; i < files->len; i++) {
        const LodgeHostFile *file = files->pdata[i];
        if (g_str_equal(file->path, path)) {
            return file;
        }
    }
    return NULL;
}

const char *
lodge_render_text(const LodgeRender *render, const char *path)
{
    const LodgeHostFile *file = find(render->files, path);
    return file != NULL ? file->text : NULL;
}

void
lodge_render_change(const LodgeRender *render, const char *path, guint mode, char *text)
{
    const LodgeHostFile *old = find(render->files, path);
    LodgeHostFile *file = g_new0(LodgeHostFile, 1);
    file->path = g_strdup(path);
    file->text = text;
    file->mode = old != NULL && old->text != NULL ? old->mode : mode;
    g_ptr_array_add(render->changes, file);
}

void
lodge_render_link(const LodgeRender *render, const char *path, const char *target)
{
    LodgeHostFile *file = g_new0(LodgeHostFile, 1);
    file->path = g_strdup(path);
    file->target = g_strdup(target);
    g_ptr_array_add(render->changes, file);
}

char *
lodge_render_value(const char *text, const char *key)
{
    g_auto(GStrv) lines = g_strsplit(text != NULL ? text : "", "\n", -1);
    gsize length = strlen(key);
    for (gsize i = 0; lines[i] != NULL; i++) {
        char *line = g_strstrip(lines[i]);
        if (strncmp(line, key, length) == 0 && line[length] == '=') {
            char *value = line + length + 1;
            gsize size = strlen(value);
            gboolean quoted = size >= 2 && (*value == '"' || *value == '\'') &&
                              value[size - 1] == *value;
            return quoted ? g_strndup(value + 1, size - 2) : g_strdup(value);
        }
    }
    return NULL;
}

static gboolean
is_name_part(char letter)
{
    return g_ascii_isalnum(letter) || letter == '_' || letter == '-' || letter == '@';
}

char *
lodge_render_renamed(const LodgeRender *render, const char *text)
{
    const char *name = render->link->uplink;
    gsize length = strlen(name);
    GString *out = g_string_new(NULL);
    for (const char *at = text; *at != '\0';) {
        gboolean begins = at == text || !(is_name_part(at[-1]) || at[-1] == '.');
        gboolean ends = !(is_name_part(at[strnlen(at, length)]) || at[strnlen(at, length)] == '.');
        if (begins && strncmp(at, name, length) == 0 && ends) {
            g_string_append(out, render->link->bridge);
            at += length;
        } else {
            g_string_append_c(out, *at++);
        }
    }
    return g_string_free(out, FALSE);
}

gboolean
lodge_render_is_among(const char *word, const char *const *list)
{
    for (gsize i = 0; list[i] != NULL; i++) {
        gsize length = strlen(list[i]);
        gboolean is_prefix = length > 0 && list[i][length - 1] == '*';
        if (is_prefix ? strncmp(word, list[i], length - 1) == 0 : g_str_equal(word, list[i])) {
            return TRUE;
        }
    }
    return FALSE;
}

gsize
lodge_render_indent(const char *line)
{
    return strspn(line, " \t");
}
