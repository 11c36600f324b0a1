/* What the renderers of the host's configuration share. Private to this layer.
 *
 * A renderer is pure: from all files that its program reads it makes those that change. */
#pragma once

#include "net/persist/host-files.h"

typedef struct {
    const LodgeHostLink *link;
    const GPtrArray *files; /* LodgeHostFile *, sorted by path */
    GPtrArray *changes;     /* LodgeHostFile * are added here */
} LodgeRender;

/* UNSUPPORTED, with the reason, if the files say something that can't be told of a bridge. */
typedef gboolean (*LodgeRenderFunc)(const LodgeRender *render, GError **error);

gboolean lodge_render_ifupdown(const LodgeRender *render, GError **error);
gboolean lodge_render_networkd(const LodgeRender *render, GError **error);
gboolean lodge_render_networkmanager(const LodgeRender *render, GError **error);
gboolean lodge_render_netplan(const LodgeRender *render, GError **error);
gboolean lodge_render_netifrc(const LodgeRender *render, GError **error);
gboolean lodge_render_ifcfg(const LodgeRender *render, GError **error);

void lodge_host_file_free(LodgeHostFile *file);
/* The text of the file at @path; NULL: there is none. */
const char *lodge_render_text(const LodgeRender *render, const char *path);
/* A file gets a new text, or is made (@mode) or, with @text NULL, removed. @text is taken. */
void lodge_render_change(const LodgeRender *render, const char *path, guint mode, char *text);
void lodge_render_link(const LodgeRender *render, const char *path, const char *target);

/* The value of "KEY=VALUE" among lines, without quotes; NULL. Free with g_free. */
char *lodge_render_value(const char *text, const char *key);

/* @text with the uplink's name, where it stands as a word, or before ':' or '.', become the
 * bridge's. VLANs ("eth0.10") stay. Free with g_free. */
char *lodge_render_renamed(const LodgeRender *render, const char *text);

/* Is @word one of @list, in which a name that ends with '*' stands for all that begin so? */
gboolean lodge_render_is_among(const char *word, const char *const *list);

/* The text of "iface eth0 …" etc. is kept in lines: its indentation, and what follows. */
gsize lodge_render_indent(const char *line);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeHostFile, lodge_host_file_free)
