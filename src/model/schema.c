#include "config.h"

#include "model/schema.h"

#include <string.h>

#include "base/base.h"
#include "model/forward.h"
#include "model/schema-net.h"

/* What a value parses to, before it is put into its field. */
typedef struct {
    guint64 number;
    char *text; /* of types whose field is one */
} Value;

static gboolean
parse_text(const char *value, GError **error)
{
    gboolean plain = TRUE;
    for (const char *c = value; *c != '\0'; c++) {
        if (g_ascii_iscntrl(*c)) {
            return lodge_error_set(error, LODGE_ERROR_USAGE,
                                   "control characters don't belong here");
        }
        plain = plain && (guchar)*c < 0x80;
    }
    return plain || g_utf8_validate(value, -1, NULL) ||
           lodge_error_set(error, LODGE_ERROR_USAGE, "not UTF-8");
}

/* POSIX portable names, as adduser takes them. */
static gboolean
parse_user(const char *value, GError **error)
{
    gsize length = strlen(value);
    gboolean good = length >= 1 && length <= 32 && (g_ascii_islower(*value) || *value == '_');
    for (const char *c = value; good && *c != '\0'; c++) {
        good = g_ascii_islower(*c) || g_ascii_isdigit(*c) || *c == '-' || *c == '_';
    }
    return good || lodge_error_set(error, LODGE_ERROR_USAGE,
                                   "“%s” can't be a login name (a-z, 0-9, - and _, at most 32, "
                                   "beginning with a letter)",
                                   value);
}

static gboolean
parse_file(const char *value, GError **error)
{
    if (*value == '\0' || *value == '.' || strchr(value, '/') != NULL) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "“%s” must be the plain name of a file in the same folder", value);
    }
    return TRUE;
}

static gboolean
parse_url(const char *value, GError **error)
{
    if (!g_str_has_prefix(value, "https://") && !g_str_has_prefix(value, "http://") &&
        !g_str_has_prefix(value, "file:///")) {
        return lodge_error_set(error, LODGE_ERROR_USAGE, "“%s” is not an http, https or file URL",
                               value);
    }
    return TRUE;
}

static gboolean
parse_mac(const char *value, char **out_text, GError **error)
{
    gboolean good = strlen(value) == 17;
    for (int i = 0; good && i < 17; i++) {
        good = i % 3 == 2 ? value[i] == ':' : g_ascii_isxdigit(value[i]);
    }
    if (!good || g_ascii_xdigit_value(value[1]) & 1 || g_str_equal(value, "00:00:00:00:00:00")) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "“%s” is not a unicast MAC address (like 52:54:00:12:34:56)", value);
    }
    *out_text = g_ascii_strdown(value, -1);
    return TRUE;
}

static gboolean
parse_bool(const char *value, guint64 *out_number, GError **error)
{
    static const char *const words[] = {"no", "yes", "false", "true", "off", "on", "0", "1"};
    for (gsize i = 0; i < G_N_ELEMENTS(words); i++) {
        if (g_ascii_strcasecmp(value, words[i]) == 0) {
            *out_number = i & 1;
            return TRUE;
        }
    }
    return lodge_error_set(error, LODGE_ERROR_USAGE, "“%s” must be yes or no", value);
}

static gboolean
parse_choice(const LodgeKey *key, const char *value, guint64 *out_number, GError **error)
{
    gsize length = strlen(value);
    guint64 number = 0;
    for (const char *word = key->choices; *word != '\0'; number++) {
        const char *end = strchrnul(word, '|');
        if ((gsize)(end - word) == length && memcmp(word, value, length) == 0) {
            *out_number = number;
            return TRUE;
        }
        word = *end != '\0' ? end + 1 : end;
    }
    g_auto(GStrv) words = g_strsplit(key->choices, "|", -1);
    g_autofree char *list = g_strjoinv(", ", words);
    g_autofree char *hint = lodge_text_suggestion(value, (const char *const *)words);
    return lodge_error_set(error, LODGE_ERROR_USAGE, "“%s” must be one of %s%s", value, list, hint);
}

/* Canonical: divided by single commas. */
static gboolean
parse_words(const LodgeKey *key, const char *value, char **out_text, GError **error)
{
    g_autoptr(GPtrArray) kept = g_ptr_array_new();
    g_auto(GStrv) words = g_strsplit_set(value, ", ;", -1);
    for (gsize i = 0; words[i] != NULL; i++) {
        guint64 number = 0;
        if (*words[i] == '\0') {
            continue;
        }
        if (!parse_choice(key, words[i], &number, error)) {
            return FALSE;
        }
        if (g_ptr_array_find_with_equal_func(kept, words[i], g_str_equal, NULL)) {
            return lodge_error_set(error, LODGE_ERROR_USAGE, "“%s” stands twice", words[i]);
        }
        g_ptr_array_add(kept, words[i]);
    }
    if (kept->len == 0) {
        return lodge_error_set(error, LODGE_ERROR_USAGE, "at least one word is needed");
    }
    g_ptr_array_add(kept, NULL);
    *out_text = g_strjoinv(",", (char **)kept->pdata);
    return TRUE;
}

static gboolean
parse_count(const char *value, guint64 *out_number, GError **error)
{
    if (!g_ascii_string_to_unsigned(value, 10, 0, G_MAXUINT32, out_number, NULL)) {
        return lodge_error_set(error, LODGE_ERROR_USAGE, "“%s” is not a whole number", value);
    }
    return TRUE;
}

/* "150%" or "150". */
static gboolean
parse_percent(const char *value, guint64 *out_number, GError **error)
{
    g_autofree char *digits = g_strndup(value, strlen(value) - g_str_has_suffix(value, "%"));
    if (!g_ascii_string_to_unsigned(digits, 10, 0, G_MAXUINT32, out_number, NULL)) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "“%s” is not a percentage (write it like 150%%)", value);
    }
    return TRUE;
}

static gboolean
parse_forwards(const char *value, GError **error)
{
    g_autoptr(GPtrArray) forwards = lodge_forwards_parse(value, error);
    return forwards != NULL;
}

static gboolean
check_limits(const LodgeKey *key, const char *value, guint64 number, GError **error)
{
    gboolean is_size = key->type == LODGE_TYPE_SIZE;
    if (number < key->least) {
        g_autofree char *least = is_size ? lodge_size_format(key->least)
                                         : g_strdup_printf("%d", (int)key->least);
        return lodge_error_set(error, LODGE_ERROR_USAGE, "%s is less than the least, %s", value,
                               least);
    }
    if (key->most != 0 && number > key->most) {
        g_autofree char *most = is_size ? lodge_size_format(key->most)
                                        : g_strdup_printf("%d", (int)key->most);
        return lodge_error_set(error, LODGE_ERROR_USAGE, "%s is more than the most, %s", value,
                               most);
    }
    return TRUE;
}

static gboolean
is_text(const LodgeKey *key)
{
    return key->type != LODGE_TYPE_SIZE && key->type != LODGE_TYPE_COUNT &&
           key->type != LODGE_TYPE_PERCENT && key->type != LODGE_TYPE_BOOL &&
           key->type != LODGE_TYPE_CHOICE;
}

/* The value by its type: to *@out_number, or its canonical form to *@out_text where it may differ
 * from @value. */
static gboolean
parse_typed(const LodgeKey *key, const char *value, guint64 *out_number, char **out_text,
            GError **error)
{
    switch (key->type) {
    case LODGE_TYPE_TEXT:
        return TRUE;
    case LODGE_TYPE_NAME:
        return lodge_name_check(key->name, value, error);
    case LODGE_TYPE_IMAGE:
        return lodge_image_name_check(value, error);
    case LODGE_TYPE_USER:
        return parse_user(value, error);
    case LODGE_TYPE_PATH:
        return *value != '\0' || lodge_error_set(error, LODGE_ERROR_USAGE, "an empty path");
    case LODGE_TYPE_FILE:
        return parse_file(value, error);
    case LODGE_TYPE_URL:
        return parse_url(value, error);
    case LODGE_TYPE_SIZE:
        return lodge_size_parse(value, out_number, error) &&
               check_limits(key, value, *out_number, error);
    case LODGE_TYPE_COUNT:
        return parse_count(value, out_number, error) &&
               check_limits(key, value, *out_number, error);
    case LODGE_TYPE_PERCENT:
        return parse_percent(value, out_number, error) &&
               check_limits(key, value, *out_number, error);
    case LODGE_TYPE_BOOL:
        return parse_bool(value, out_number, error);
    case LODGE_TYPE_CHOICE:
    case LODGE_TYPE_WORD:
        return parse_choice(key, value, out_number, error);
    case LODGE_TYPE_WORDS:
        return parse_words(key, value, out_text, error);
    case LODGE_TYPE_MAC:
        return parse_mac(value, out_text, error);
    case LODGE_TYPE_FORWARDS:
        return parse_forwards(value, error);
    case LODGE_TYPE_LINK:
    case LODGE_TYPE_DOMAIN:
    case LODGE_TYPE_ADDRESS4:
    case LODGE_TYPE_ADDRESS6:
    case LODGE_TYPE_ADDRESSES:
    case LODGE_TYPE_PREFIX4:
    case LODGE_TYPE_PREFIX6:
    case LODGE_TYPE_PREFIXES:
    case LODGE_TYPE_RANGE4:
    case LODGE_TYPE_VLANS:
        return lodge_schema_net_value(key->type, value, out_text, error);
    }
    return FALSE;
}

static gboolean
parse_value(const LodgeKey *key, const char *value, Value *out_value, GError **error)
{
    g_autofree char *text = NULL;
    guint64 number = 0;
    if (!parse_text(value, error) || !parse_typed(key, value, &number, &text, error)) {
        return FALSE;
    }
    out_value->number = number;
    if (is_text(key)) {
        out_value->text = text != NULL ? g_steal_pointer(&text) : g_strdup(value);
    }
    return TRUE;
}

static void
store(const LodgeKey *key, gpointer object, Value *value)
{
    gpointer field = (char *)object + key->offset;
    if (is_text(key)) {
        g_free(*(char **)field);
        *(char **)field = g_steal_pointer(&value->text);
    } else if (key->type == LODGE_TYPE_SIZE) {
        *(guint64 *)field = value->number;
    } else {
        *(int *)field = (int)value->number;
    }
    g_clear_pointer(&value->text, g_free);
}

void
lodge_schema_write(const LodgeSection *section, gconstpointer object, GKeyFile *file,
                   const char *group)
{
    for (gsize i = 0; i < section->key_count; i++) {
        g_autofree char *value = lodge_schema_format(&section->keys[i], object);
        if (value != NULL && g_strcmp0(value, section->keys[i].fallback) != 0) {
            g_key_file_set_string(file, group, section->keys[i].name, value);
        }
    }
}

gboolean
lodge_schema_value(const LodgeKey *key, const char *value, char **out_canonical, GError **error)
{
    Value parsed = {0};
    if (!parse_value(key, value, &parsed, error)) {
        return lodge_error_prefix(error, "%s", key->name);
    }
    if (out_canonical != NULL) {
        if (key->type == LODGE_TYPE_SIZE) {
            *out_canonical = lodge_size_format(parsed.number);
        } else if (key->type == LODGE_TYPE_BOOL) {
            *out_canonical = g_strdup(parsed.number ? "yes" : "no");
        } else if (key->type == LODGE_TYPE_PERCENT) {
            *out_canonical = g_strdup_printf("%" G_GUINT64_FORMAT "%%", parsed.number);
        } else {
            *out_canonical = g_strdup(parsed.text != NULL ? parsed.text : value);
        }
    }
    g_free(parsed.text);
    return TRUE;
}

static gboolean
at_line(const LodgeKeyFile *file, const LodgeEntry *entry, GError **error)
{
    if (error != NULL && *error != NULL) {
        (*error)->code = LODGE_ERROR_INVALID;
    }
    return lodge_error_prefix(error, "%s: line %u", file->what, entry->line);
}

static gboolean
refuse_section(const LodgeSection *sections, const char *name, GError **error)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    for (const LodgeSection *section = sections; section->name != NULL; section++) {
        g_ptr_array_add(names, (gpointer)section->name);
    }
    g_ptr_array_add(names, NULL);
    g_autofree char *hint = lodge_text_suggestion(name, (const char *const *)names->pdata);
    return lodge_error_set(error, LODGE_ERROR_INVALID, "unknown section [%s]%s", name, hint);
}

static gboolean
refuse_key(const LodgeSection *section, const char *name, GError **error)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    for (gsize i = 0; i < section->key_count; i++) {
        g_ptr_array_add(names, (gpointer)section->keys[i].name);
    }
    g_ptr_array_add(names, NULL);
    g_autofree char *hint = lodge_text_suggestion(name, (const char *const *)names->pdata);
    return lodge_error_set(error, LODGE_ERROR_INVALID, "unknown key “%s” in [%s]%s", name,
                           section->name, hint);
}

static gboolean
check_section_name(const LodgeSection *sections, const char *group,
                   const LodgeSection **out_section, GError **error)
{
    const char *space = strchr(group, ' ');
    g_autofree char *kind = space != NULL ? g_strndup(group, (gsize)(space - group))
                                          : g_strdup(group);
    const LodgeSection *section = lodge_section_find(sections, kind);
    if (section == NULL) {
        return refuse_section(sections, kind, error);
    }
    if (section->repeats != (space != NULL)) {
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               section->repeats ? "[%s] wants a name: [%s NAME]"
                                                : "[%s …] has no name of its own: [%s]",
                               kind, kind);
    }
    *out_section = section;
    return space == NULL || lodge_name_check(kind, space + 1, error);
}

static gboolean
stood_before(const LodgeKeyFile *file, const LodgeEntry *entry)
{
    for (const LodgeEntry *before = file->entries; before < entry; before++) {
        if (before->key == NULL && g_str_equal(before->group, entry->group)) {
            return TRUE;
        }
    }
    return FALSE;
}

gboolean
lodge_schema_check(const LodgeSection *sections, const LodgeKeyFile *file, GError **error)
{
    const LodgeSection *section = NULL;
    for (gsize i = 0; i < file->count; i++) {
        const LodgeEntry *entry = &file->entries[i];
        gboolean fine = TRUE;
        if (entry->key != NULL) {
            fine = lodge_section_key(section, entry->key) != NULL ||
                   refuse_key(section, entry->key, error);
        } else if (check_section_name(sections, entry->group, &section, error)) {
            fine = !stood_before(file, entry) ||
                   lodge_error_set(error, LODGE_ERROR_INVALID, "[%s] stands twice", entry->group);
        } else {
            fine = FALSE;
        }
        if (!fine) {
            return at_line(file, entry, error);
        }
    }
    return TRUE;
}

/* Most defaults are what a fresh object holds already: `list` of a thousand guests feels the rest.
 */
static gboolean
falls_back_to_zero(const LodgeKey *key)
{
    switch (key->type) {
    case LODGE_TYPE_COUNT:
    case LODGE_TYPE_SIZE:
        return g_str_equal(key->fallback, "0");
    case LODGE_TYPE_PERCENT:
        return g_str_equal(key->fallback, "0%");
    case LODGE_TYPE_BOOL:
        return g_str_equal(key->fallback, "no");
    case LODGE_TYPE_CHOICE: {
        gsize length = strlen(key->fallback);
        return strncmp(key->choices, key->fallback, length) == 0 &&
               (key->choices[length] == '|' || key->choices[length] == '\0');
    }
    default:
        return FALSE;
    }
}

/* @object was zeroed when it was made. */
static void
fall_back(const LodgeKey *key, gpointer object)
{
    Value parsed = {0};
    if (key->fallback != NULL && !falls_back_to_zero(key) &&
        parse_value(key, key->fallback, &parsed, NULL)) {
        store(key, object, &parsed);
    }
}

gboolean
lodge_schema_fill(const LodgeSection *section, const LodgeKeyFile *file, const char *group,
                  gpointer object, GError **error)
{
    g_autofree gboolean *written = g_new0(gboolean, section->key_count);
    for (gsize i = 0; i < file->count; i++) {
        const LodgeEntry *entry = &file->entries[i];
        const LodgeKey *key = entry->key != NULL && g_str_equal(entry->group, group)
                                  ? lodge_section_key(section, entry->key)
                                  : NULL;
        Value parsed = {0};
        if (key == NULL) {
            continue;
        }
        if (written[key - section->keys]) {
            lodge_error_set(error, LODGE_ERROR_INVALID, "%s stands twice", key->name);
            return at_line(file, entry, error);
        }
        if (!parse_value(key, entry->value, &parsed, error)) {
            lodge_error_prefix(error, "%s", key->name);
            return at_line(file, entry, error);
        }
        written[key - section->keys] = TRUE;
        store(key, object, &parsed);
    }
    for (gsize i = 0; i < section->key_count; i++) {
        if (!written[i]) {
            fall_back(&section->keys[i], object);
        }
    }
    return TRUE;
}

void
lodge_schema_clear(const LodgeSection *section, gpointer object)
{
    for (gsize i = 0; i < section->key_count; i++) {
        if (is_text(&section->keys[i])) {
            g_clear_pointer((char **)((char *)object + section->keys[i].offset), g_free);
        }
    }
}

char *
lodge_schema_format(const LodgeKey *key, gconstpointer object)
{
    const char *field = (const char *)object + key->offset;
    if (is_text(key)) {
        return g_strdup(*(char *const *)field);
    }
    if (key->type == LODGE_TYPE_SIZE) {
        return lodge_size_format(*(const guint64 *)field);
    }
    int number = *(const int *)field;
    if (key->type == LODGE_TYPE_BOOL) {
        return g_strdup(number ? "yes" : "no");
    }
    if (key->type == LODGE_TYPE_CHOICE) {
        return lodge_key_choice_word(key, number);
    }
    if (key->type == LODGE_TYPE_PERCENT) {
        return g_strdup_printf("%d%%", number);
    }
    return g_strdup_printf("%d", number);
}

const LodgeKey *
lodge_section_key(const LodgeSection *section, const char *name)
{
    for (gsize i = 0; i < section->key_count; i++) {
        /* Each key of each definition comes by here: most rows are told apart by a letter. */
        if (section->keys[i].name[0] == name[0] && g_str_equal(section->keys[i].name, name)) {
            return &section->keys[i];
        }
    }
    return NULL;
}

const LodgeSection *
lodge_section_find(const LodgeSection *sections, const char *name)
{
    for (const LodgeSection *section = sections; section->name != NULL; section++) {
        if (g_str_equal(section->name, name)) {
            return section;
        }
    }
    return NULL;
}

char *
lodge_key_choice_word(const LodgeKey *key, int value)
{
    g_auto(GStrv) words = g_strsplit(key->choices, "|", -1);
    return g_strdup(words[value]);
}
