/* A command that there is not: which one was meant? Hands that know virsh, docker, vagrant, lxc or
 * a shell type those words for years to come, and spelling does not lead from “destroy” to
 * “kill”. */
#include "config.h"

#include <string.h>

#include "cli/cli.h"

typedef struct {
    const char *word;
    const char *here; /* what it may be called here, divided by spaces; after a noun too */
} Synonym;

/* clang-format off */
static const Synonym synonyms[] = {
    {"add", "create attach"},       {"apply", "restore"},           {"attach-disk", "disk_attach"},
    {"autostart", "set"},           {"boot", "start"},              {"capabilities", "check"},
    {"change-media", "cdrom"},      {"checkpoint", "snapshot_create"},
    {"clone", "fork"},              {"config", "set edit"},         {"connect", "ssh console"},
    {"copy", "fork cp"},            {"destroy", "kill delete"},     {"detach-disk", "disk_detach"},
    {"display", "vnc screenshot"},  {"doctor", "check"},            {"domifaddr", "resolve"},
    {"domlist", "list"},            {"down", "stop"},               {"dumpxml", "show"},
    {"eject", "cdrom"},             {"enter", "ssh exec"},          {"grow", "resize"},
    {"halt", "stop"},               {"info", "show info"},          {"init", "create"},
    {"inspect", "show info"},       {"install", "create"},          {"ip", "resolve"},
    {"launch", "create"},           {"login", "ssh"},               {"logs", "log"},
    {"ls", "list"},                 {"make", "create"},             {"managedsave", "snapshot_create"},
    {"move", "rename"},             {"mv", "rename"},               {"new", "create"},
    {"nodeinfo", "check"},          {"plug", "attach"},             {"port-forward", "forward"},
    {"poweroff", "stop"},           {"prune", "gc"},                {"ps", "list"},
    {"purge", "delete"},            {"reboot", "restart"},          {"remove", "delete detach"},
    {"reset", "restart"},           {"revert", "restore snapshot_restore"},
    {"rm", "delete detach"},        {"rollback", "restore snapshot_restore rewind"},
    {"run", "create exec"},         {"save", "snapshot_create"},    {"setmem", "set"},
    {"setvcpus", "set"},            {"shell", "ssh exec"},          {"shutdown", "stop"},
    {"stats", "top"},               {"status", "show list"},        {"suspend", "pause"},
    {"take", "create"},             {"undefine", "delete"},         {"unpause", "resume"},
    {"unplug", "detach"},           {"up", "start"},                {"update", "set"},
    {"view", "vnc"},                {"virt-install", "create"},     {"virt-top", "top"},
    {"wait", "start"},
};

static const Synonym nouns[] = {
    {"br", "network"},      {"bridge", "network"}, {"disks", "disk"},      {"images", "image"},
    {"img", "image"},       {"net", "network"},    {"networks", "network"},
    {"pool", "disk"},       {"snap", "snapshot"},  {"snapshots", "snapshot"},
    {"storage", "disk"},    {"template", "image"}, {"vol", "disk"},        {"volume", "disk"},
};
/* clang-format on */

static const char *
look_up(const Synonym *rows, gsize count, const char *word)
{
    for (gsize i = 0; i < count; i++) {
        if (g_str_equal(rows[i].word, word)) {
            return rows[i].here;
        }
    }
    return NULL;
}

/* Is @word the first of two-word commands? */
static gboolean
is_noun(const char *word)
{
    g_autofree char *prefix = g_strconcat(word, " ", NULL);
    const LodgeCommandRow *row = lodge_commands();
    while (row->name != NULL && !g_str_has_prefix(row->name, prefix)) {
        row++;
    }
    return row->name != NULL;
}

/* “lodge kill”: pull the plug; or “lodge delete”: remove a guest and its files. NULL: @word is
 * nothing that we know. @noun: what it stands behind, or NULL. Free with g_free. */
static char *
translate(const char *noun, const char *word)
{
    const char *here = look_up(synonyms, G_N_ELEMENTS(synonyms), word);
    /* The right verb behind the wrong noun, or a noun alone, is as good. */
    g_auto(GStrv) words = g_strsplit(here != NULL ? here : word, " ", -1);
    g_autoptr(GString) text = g_string_new(NULL);
    for (gsize i = 0; words[i] != NULL; i++) {
        g_autofree char *name = noun != NULL ? g_strdup_printf("%s %s", noun, words[i])
                                             : g_strdelimit(g_strdup(words[i]), "_", ' ');
        int count = 0;
        const LodgeCommandRow *row = lodge_find_command(name, NULL, &count);
        if (row != NULL) {
            g_string_append_printf(text, "%s“lodge %s”: %s", text->len > 0 ? "; or " : "", name,
                                   row->summary);
        }
    }
    return text->len > 0 ? g_string_free(g_steal_pointer(&text), FALSE) : NULL;
}

/* The command that is spelt nearly so, or NULL. */
static const char *
spelt_alike(const char *pair, const char *word)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    for (const LodgeCommandRow *row = lodge_commands(); row->name != NULL; row++) {
        g_ptr_array_add(names, (gpointer)row->name);
    }
    g_ptr_array_add(names, NULL);
    const char *const *candidates = (const char *const *)names->pdata;
    const char *nearest = pair != NULL ? lodge_text_nearest(pair, candidates) : NULL;
    return nearest != NULL ? nearest : lodge_text_nearest(word, candidates);
}

gboolean
lodge_refuse_command(const char *first, const char *second, GError **error)
{
    const char *other = look_up(nouns, G_N_ELEMENTS(nouns), first);
    const char *noun = is_noun(first) ? first : other;
    g_autofree char *pair = second != NULL ? g_strdup_printf("%s %s", first, second) : NULL;
    const char *wrong = pair != NULL && noun != NULL ? pair : first;
    g_autofree char *meant = noun != NULL && second != NULL ? translate(noun, second) : NULL;
    meant = meant != NULL || is_noun(first) ? g_steal_pointer(&meant) : translate(NULL, first);
    if (meant != NULL) {
        return lodge_error_set(error, LODGE_ERROR_USAGE, "no command “%s” (here it is %s)", wrong,
                               meant);
    }
    const char *nearest = spelt_alike(pair, first);
    if (noun == other && other != NULL) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "no command “%s” (`lodge %s --help` lists what is like it)", wrong,
                               other);
    }
    if (nearest != NULL) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "no command “%s” (did you mean “lodge %s”?)", wrong, nearest);
    }
    return lodge_error_set(
        error, LODGE_ERROR_USAGE, "no command “%s” (`lodge%s%s --help` lists %s)", wrong,
        noun != NULL ? " " : "", noun != NULL ? noun : "", noun != NULL ? "its verbs" : "them");
}
