#include "config.h"

#include "ops/host-key.h"

#include <string.h>

#include "base/base.h"

enum {
    KEYGEN_TIMEOUT_MS = 30000,
    KEY_LIMIT_BYTES = 16384,
    ED25519_BYTES = 64, /* seed and public half */
};

/* The parts of OpenSSH's format (PROTOCOL.key): numbers of 4 bytes, texts with their length before.
 */
typedef struct {
    const guint8 *next;
    gsize left;
} Reader;

static gboolean
read_text(Reader *reader, const guint8 **out_text, gsize *out_length)
{
    guint32 length = 0;
    if (reader->left < sizeof length) {
        return FALSE;
    }
    memcpy(&length, reader->next, sizeof length);
    length = GUINT32_FROM_BE(length);
    if (length > reader->left - sizeof length) {
        return FALSE;
    }
    *out_text = reader->next + sizeof length;
    *out_length = length;
    reader->next += sizeof length + length;
    reader->left -= sizeof length + length;
    return TRUE;
}

static gboolean
skip(Reader *reader, gsize bytes)
{
    if (bytes > reader->left) {
        return FALSE;
    }
    reader->next += bytes;
    reader->left -= bytes;
    return TRUE;
}

/* The 64 bytes of the private half; NULL if there are none. */
static const guint8 *
find_private(const guint8 *bytes, gsize length)
{
    static const char magic[] = "openssh-key-v1";
    Reader reader = {bytes, length};
    const guint8 *text = NULL;
    gsize text_length = 0;
    if (length < sizeof magic || memcmp(bytes, magic, sizeof magic) != 0 ||
        !skip(&reader, sizeof magic)) {
        return NULL;
    }
    for (int i = 0; i < 3; i++) { /* cipher, derivation, its options */
        if (!read_text(&reader, &text, &text_length)) {
            return NULL;
        }
    }
    if (!skip(&reader, 4) || !read_text(&reader, &text, &text_length) ||
        !read_text(&reader, &text, &text_length)) {
        return NULL;
    }
    Reader inner = {text, text_length};
    if (!skip(&inner, 8) || !read_text(&inner, &text, &text_length) || /* its kind */
        !read_text(&inner, &text, &text_length) ||                     /* the public half */
        !read_text(&inner, &text, &text_length) || text_length != ED25519_BYTES) {
        return NULL;
    }
    return text;
}

char *
host_key_for_dropbear(const char *text, gsize *out_length, GError **error)
{
    static const char kind[] = "ssh-ed25519";
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_autoptr(GString) encoded = g_string_new(NULL);
    for (gsize i = 0; lines[i] != NULL; i++) {
        if (*lines[i] != '-') {
            g_string_append(encoded, lines[i]);
        }
    }
    gsize length = 0;
    g_autofree guchar *bytes = g_base64_decode(encoded->str, &length);
    const guint8 *private = find_private(bytes, length);
    if (private == NULL) {
        lodge_error_set(error, LODGE_ERROR_INVALID, "what ssh-keygen made is no ed25519 key");
        return NULL;
    }
    GByteArray *key = g_byte_array_new();
    const guint32 kind_length = GUINT32_TO_BE(sizeof kind - 1);
    const guint32 key_length = GUINT32_TO_BE(ED25519_BYTES);
    g_byte_array_append(key, (const guint8 *)&kind_length, sizeof kind_length);
    g_byte_array_append(key, (const guint8 *)kind, sizeof kind - 1);
    g_byte_array_append(key, (const guint8 *)&key_length, sizeof key_length);
    g_byte_array_append(key, private, ED25519_BYTES);
    *out_length = key->len;
    return (char *)g_byte_array_free(key, FALSE);
}

char *
host_key_find(LodgeAgent *agent, gint64 deadline)
{
    static const char *const places[] = {"/etc/ssh/ssh_host_ed25519_key",
                                         "/etc/dropbear/dropbear_ed25519_host_key"};
    for (gsize i = 0; i < G_N_ELEMENTS(places); i++) {
        if (lodge_agent_stat(agent, places[i], TRUE, deadline, NULL, NULL, NULL)) {
            return g_strdup(places[i]);
        }
    }
    return NULL;
}

static gboolean
read_key(const char *path, const char *place, HostKey *key, GError **error)
{
    g_autofree char *public_path = g_strconcat(path, ".pub", NULL);
    g_autofree char *text = lodge_file_read(path, KEY_LIMIT_BYTES, &key->private_length, error);
    key->public_key = text != NULL ? lodge_file_read(public_path, KEY_LIMIT_BYTES, NULL, error)
                                   : NULL;
    if (key->public_key == NULL) {
        return FALSE;
    }
    g_strchomp(key->public_key);
    key->private_key = strstr(place, "dropbear") != NULL
                           ? host_key_for_dropbear(text, &key->private_length, error)
                           : g_steal_pointer(&text);
    return key->private_key != NULL;
}

gboolean
host_key_make(const char *folder, const char *place, HostKey *out_key, GError **error)
{
    g_autofree char *path = g_build_filename(folder, ".host-key", NULL);
    g_autofree char *public_path = g_strconcat(path, ".pub", NULL);
    const char *argv[] = {"ssh-keygen", "-q", "-t", "ed25519", "-N", "",
                          "-C",         "",   "-f", path,      NULL};
    *out_key = (HostKey){NULL, 0, NULL};
    gboolean fine = lodge_tree_remove(path, error) && lodge_tree_remove(public_path, error) &&
                    lodge_process_run_argv(argv, KEYGEN_TIMEOUT_MS, NULL, error) &&
                    read_key(path, place, out_key, error);
    lodge_tree_remove(path, NULL);
    lodge_tree_remove(public_path, NULL);
    return fine || lodge_error_prefix(error, "the guest's SSH host key");
}

void
host_key_clear(HostKey *key)
{
    g_clear_pointer(&key->private_key, g_free);
    g_clear_pointer(&key->public_key, g_free);
}
