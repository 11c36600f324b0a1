/* What can stand next on the command line: `lodge __complete WORD…`, asked by each shell's script
 * (completion.c), so that all shells offer the same. The last word is the one at the cursor. A
 * candidate a line, a tab, what it is; ":" alone says that files do, too.
 *
 * The commands' table says it all: `arguments` ("GUEST KEY=VALUE…") tells what the words of a
 * command are, options tell theirs, keys come from the model's tables. Files only are read. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "image/image.h"
#include "model/guest.h"
#include "model/network.h"
#include "store/networks.h"

typedef struct {
    const LodgeStore *store;
    const LodgeCommandRow *row;
    char *const *words; /* behind the command, without the one at the cursor */
    int count;
    const char *cursor;
    GPtrArray *places;          /* of @words, those that are neither options nor their values */
    const GOptionEntry *option; /* whose value the cursor is at, or NULL */
} Line;

static void
offer(const Line *line, const char *candidate, const char *meaning)
{
    if (g_str_has_prefix(candidate, line->cursor)) {
        printf("%s\t%s\n", candidate, meaning != NULL ? meaning : "");
    }
}

/* Names of a folder's children, but those that stand on the line already. NULL is no name. */
static void
offer_names(const Line *line, char **names, const char *end)
{
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        gboolean stands = g_ptr_array_find_with_equal_func(line->places, names[i], g_str_equal,
                                                           NULL);
        if (!stands && strpbrk(names[i], " \t\n") == NULL) {
            g_autofree char *candidate = g_strconcat(names[i], end, NULL);
            offer(line, candidate, NULL);
        }
    }
    g_strfreev(names);
}

static void
offer_systems(const Line *line)
{
    g_autoptr(GPtrArray) all = lodge_catalogue_list(line->store, NULL);
    for (guint i = 0; all != NULL && i < all->len; i++) {
        const LodgeImage *image = all->pdata[i];
        offer(line, image->name, image->title);
    }
}

/* The first of the line's places, which is the guest of most commands; "" if there is none. */
static const char *
first_place(const Line *line)
{
    return line->places->len > 0 ? line->places->pdata[0] : "";
}

static void
offer_snapshots(const Line *line)
{
    g_autofree char *folder = lodge_store_guest_path(line->store, first_place(line), "snapshots");
    offer_names(line, lodge_dir_names(folder, NULL), "");
}

/* The groups of the line's guest: "disk root", "nic net". Free with g_strfreev; NULL: none. */
static char **
guest_groups(const Line *line)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autofree char *path = lodge_store_guest_path(line->store, first_place(line), "guest.conf");
    return g_key_file_load_from_file(file, path, G_KEY_FILE_NONE, NULL)
               ? g_key_file_get_groups(file, NULL)
               : NULL;
}

static void
offer_disks(const Line *line)
{
    g_auto(GStrv) groups = guest_groups(line);
    for (gsize i = 0; groups != NULL && groups[i] != NULL; i++) {
        if (g_str_has_prefix(groups[i], "disk ")) {
            offer(line, groups[i] + strlen("disk "), NULL);
        }
    }
}

/* A key that is written so far is followed by its values. */
static void
offer_key(const Line *line, const LodgeKey *key, const char *place)
{
    g_autofree char *start = g_strconcat(place, key->name, "=", NULL);
    if (!g_str_has_prefix(line->cursor, start)) {
        offer(line, start, key->help);
        return;
    }
    const char *choices = key->type == LODGE_TYPE_BOOL ? "yes|no" : key->choices;
    g_auto(GStrv) words = g_strsplit(choices != NULL ? choices : "", "|", -1);
    for (gsize i = 0; words[i] != NULL; i++) {
        g_autofree char *candidate = g_strconcat(start, words[i], NULL);
        offer(line, candidate, NULL);
    }
}

static void
offer_keys(const Line *line)
{
    gboolean is_network = g_str_has_prefix(line->row->name, "network ");
    g_auto(GStrv) groups = is_network ? NULL : guest_groups(line);
    const LodgeSection *section = is_network ? lodge_network_sections() : lodge_guest_sections();
    for (; section->name != NULL; section++) {
        gboolean is_main = g_str_equal(section->name, is_network ? "network" : "guest");
        g_autofree char *plain = is_main ? g_strdup("") : g_strconcat(section->name, ".", NULL);
        g_autofree char *named = g_strconcat(section->name, " ", NULL);
        for (gsize i = 0; i < section->key_count && !section->repeats; i++) {
            offer_key(line, &section->keys[i], plain);
        }
        for (gsize g = 0; section->repeats && groups != NULL && groups[g] != NULL; g++) {
            if (!g_str_has_prefix(groups[g], named)) {
                continue;
            }
            g_autofree char *place = g_strdup_printf("%s.%s.", section->name,
                                                     groups[g] + strlen(named));
            for (gsize i = 0; i < section->key_count; i++) {
                offer_key(line, &section->keys[i], place);
            }
        }
    }
}

/* What one word of `arguments` may be: "GUEST", "FILE", "KEY=VALUE", or a word itself, "eject". */
static void
offer_kind(const Line *line, const char *kind)
{
    const LodgeStore *store = line->store;
    if (g_ascii_islower(*kind)) {
        offer(line, kind, NULL);
    } else if (strstr(kind, "FILE") != NULL || strstr(kind, "FOLDER") != NULL ||
               g_str_equal(kind, "DIRECTORY") || g_str_equal(kind, "PATH")) {
        puts(":");
    } else if (g_str_equal(kind, "GUEST")) {
        offer_names(line, lodge_store_guests(store, NULL), "");
    } else if (g_str_equal(kind, "FROM") || g_str_equal(kind, "TO")) {
        offer_names(line, lodge_store_guests(store, NULL), ":");
        puts(":");
    } else if (g_str_equal(kind, "NETWORK")) {
        offer_names(line, lodge_store_networks(store, NULL), "");
    } else if (g_str_equal(kind, "IMAGE") && line->row->words == LODGE_WORD_OS) {
        offer_systems(line);
    } else if (g_str_equal(kind, "IMAGE")) {
        offer_names(line, lodge_store_images(store, NULL), "");
    } else if (g_str_equal(kind, "KEY=VALUE")) {
        offer_keys(line);
    } else if (g_str_equal(kind, "DISK")) {
        offer_disks(line);
    } else if (g_str_equal(kind, "NAME") && g_str_has_prefix(line->row->name, "snapshot ") &&
               !g_str_has_suffix(line->row->name, " create")) {
        offer_snapshots(line);
    }
}

/* "[NETWORK…]" and "image|FILE" without their marks, each way by itself. */
static void
offer_kinds(const Line *line, const char *argument)
{
    g_autoptr(GString) plain = g_string_new(argument);
    g_string_replace(plain, "…", "", 0);
    g_string_replace(plain, "[", "", 0);
    g_string_replace(plain, "]", "", 0);
    g_auto(GStrv) kinds = g_strsplit(plain->str, "|", -1);
    for (gsize i = 0; kinds[i] != NULL; i++) {
        offer_kind(line, kinds[i]);
    }
}

static void
offer_place(const Line *line)
{
    g_auto(GStrv) arguments = g_strsplit(line->row->arguments, " ", -1);
    guint count = g_strv_length(arguments);
    guint place = line->places->len;
    if (place >= count && count > 0 && strstr(arguments[count - 1], "…") != NULL) {
        place = count - 1;
    }
    if (place < count) {
        offer_kinds(line, arguments[place]);
    }
}

static void
offer_value(const Line *line)
{
    const char *name = line->option->long_name;
    const char *kind = line->option->arg_description;
    const LodgeKey *key = lodge_section_key(lodge_section_find(lodge_guest_sections(), "guest"),
                                            name);
    if (g_str_equal(name, "os")) {
        offer_systems(line);
    } else if (g_str_equal(name, "snapshot")) {
        offer_snapshots(line);
    } else if (key != NULL && key->choices != NULL) {
        offer_kinds(line, key->choices);
    } else if (kind != NULL) {
        offer_kinds(line, kind);
    }
    if (kind != NULL && g_str_equal(kind, "NETWORK")) {
        offer(line, "user", NULL);
    }
}

static void
offer_options(const Line *line)
{
    for (const GOptionEntry *option = line->row->options;
         option != NULL && option->long_name != NULL; option++) {
        g_autofree char *candidate = g_strconcat("--", option->long_name, NULL);
        offer(line, candidate, option->description);
    }
    offer(line, "--json", "Print JSON");
    offer(line, "--quiet", "Print no progress");
    offer(line, "--help", "Show help");
}

/* The option of @row that @word is, and that waits for a value behind it; NULL otherwise. */
static const GOptionEntry *
awaits_value(const LodgeCommandRow *row, const char *word)
{
    for (const GOptionEntry *option = row->options; option != NULL && option->long_name != NULL;
         option++) {
        gboolean is_long = g_str_has_prefix(word, "--") && g_str_equal(word + 2, option->long_name);
        gboolean is_short = word[0] == '-' && word[1] != '\0' && word[1] == option->short_name &&
                            word[2] == '\0';
        if (option->arg != G_OPTION_ARG_NONE && (is_long || is_short)) {
            return option;
        }
    }
    return NULL;
}

/* Which of the words are a command's own. FALSE: the rest is another program's. */
static gboolean
sort_words(Line *line)
{
    gboolean options_ended = FALSE;
    for (int i = 0; i < line->count; i++) {
        const char *word = line->words[i];
        if (line->option != NULL) {
            line->option = NULL;
        } else if (!options_ended && g_str_equal(word, "--")) {
            options_ended = TRUE;
        } else if (!options_ended && word[0] == '-' && word[1] != '\0') {
            line->option = awaits_value(line->row, word);
        } else {
            g_ptr_array_add(line->places, (gpointer)word);
        }
    }
    return !line->row->strict || line->places->len == 0;
}

/* What stands behind @noun in the table, "install, status". Free with g_free. */
static char *
verbs_of(const char *noun)
{
    g_autoptr(GString) verbs = g_string_new(NULL);
    g_autofree char *prefix = g_strconcat(noun, " ", NULL);
    for (const LodgeCommandRow *row = lodge_commands(); row->name != NULL; row++) {
        if (g_str_has_prefix(row->name, prefix)) {
            g_string_append_printf(verbs, "%s%s", verbs->len > 0 ? ", " : "",
                                   row->name + strlen(prefix));
        }
    }
    return g_string_free(g_steal_pointer(&verbs), FALSE);
}

static void
offer_first_words(const Line *line)
{
    g_autofree char *last = g_strdup("");
    for (const LodgeCommandRow *row = lodge_commands(); row->name != NULL; row++) {
        char *word = g_strndup(row->name, strcspn(row->name, " "));
        /* Those of a noun stand together. */
        if (!g_str_equal(last, word)) {
            g_autofree char *verbs = verbs_of(word);
            offer(line, word, g_str_equal(word, row->name) ? row->summary : verbs);
        }
        g_free(last);
        last = word;
    }
    offer(line, "help", "explain a command");
    offer(line, "completion", "print a completion script");
    offer(line, "version", "print Lodge's version");
}

static void
offer_verbs(const Line *line, const char *noun)
{
    g_autofree char *prefix = g_strconcat(noun, " ", NULL);
    for (const LodgeCommandRow *row = lodge_commands(); row->name != NULL; row++) {
        if (g_str_has_prefix(row->name, prefix)) {
            offer(line, row->name + strlen(prefix), row->summary);
        }
    }
}

void
lodge_complete(int count, char **words)
{
    g_autoptr(LodgeStore) store = lodge_store_open(NULL);
    g_autoptr(GPtrArray) places = g_ptr_array_new();
    gboolean asks_help = count > 1 && g_str_equal(words[0], "help");
    words += asks_help ? 1 : 0;
    count -= asks_help ? 1 : 0;
    Line line = {.store = store, .places = places, .cursor = count > 0 ? words[count - 1] : ""};
    if (count < 2) {
        offer_first_words(&line);
        return;
    }
    if (count == 2) {
        offer_verbs(&line, words[0]);
    }
    int taken = 0;
    line.row = lodge_find_command(words[0], count > 2 ? words[1] : NULL, &taken);
    line.words = words + taken;
    line.count = count - 1 - taken;
    if (g_str_equal(words[0], "completion")) {
        offer_kinds(&line, "bash|zsh|fish");
    }
    if (store == NULL || line.row == NULL || asks_help || !sort_words(&line)) {
        return;
    }
    if (line.option != NULL) {
        offer_value(&line);
    } else if (*line.cursor == '-') {
        offer_options(&line);
    } else {
        offer_place(&line);
    }
}
