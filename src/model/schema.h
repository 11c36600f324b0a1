/* Key files described by tables: one row a key says its type, place in a structure, default, limits
 * and help, and every reader, writer, completion and man page follows the row. */
#pragma once

#include <glib.h>

#include "model/key-file.h"

typedef enum {
    LODGE_TYPE_TEXT,      /* char *: one line of printable UTF-8 */
    LODGE_TYPE_NAME,      /* char *: lodge_name_check() */
    LODGE_TYPE_IMAGE,     /* char *: lodge_image_name_check() */
    LODGE_TYPE_USER,      /* char *: a login name */
    LODGE_TYPE_PATH,      /* char *: a path, relative ones to the definition's folder */
    LODGE_TYPE_FILE,      /* char *: the name of a file in the definition's folder */
    LODGE_TYPE_URL,       /* char *: http(s) or file */
    LODGE_TYPE_SIZE,      /* guint64: bytes */
    LODGE_TYPE_COUNT,     /* guint */
    LODGE_TYPE_PERCENT,   /* guint: "150%" */
    LODGE_TYPE_BOOL,      /* gboolean: yes, no */
    LODGE_TYPE_CHOICE,    /* int: index into the words of `choices` */
    LODGE_TYPE_WORD,      /* char *: one of `choices`, kept as the word */
    LODGE_TYPE_WORDS,     /* char *: several of `choices`, each once, divided by commas */
    LODGE_TYPE_MAC,       /* char *: a unicast MAC address, lower case */
    LODGE_TYPE_FORWARDS,  /* char *: see forward.h */
    LODGE_TYPE_LINK,      /* char *: a network interface's name */
    LODGE_TYPE_DOMAIN,    /* char *: a DNS domain */
    LODGE_TYPE_ADDRESS4,  /* char *: an IPv4 address */
    LODGE_TYPE_ADDRESS6,  /* char *: an IPv6 address */
    LODGE_TYPE_ADDRESSES, /* char *: addresses of either family, divided by spaces or commas */
    LODGE_TYPE_PREFIX4,   /* char *: an IPv4 prefix */
    LODGE_TYPE_PREFIX6,   /* char *: an IPv6 prefix */
    LODGE_TYPE_PREFIXES,  /* char *: prefixes or addresses of either family, divided likewise */
    LODGE_TYPE_RANGE4,    /* char *: FIRST-LAST, IPv4 addresses */
    LODGE_TYPE_VLANS,     /* char *: "10 20-29": VLANs, divided by spaces or commas; see vlan.h */
} LodgeValueType;

typedef struct {
    const char *name;
    LodgeValueType type;
    gsize offset;         /* of the field in the section's structure */
    const char *fallback; /* the default, as it would be written; NULL: none, the field stays 0 */
    const char *choices;  /* CHOICE: words, divided by '|', in the order of the enum */
    guint64 least, most;  /* SIZE, COUNT, PERCENT; most 0: no limit */
    const char *help;     /* one sentence for the man page and --help */
} LodgeKey;

/* A section: `[guest]`, or `[disk NAME]` where there may be several. */
typedef struct {
    const char *name;
    gboolean
        repeats; /* has a name of its own behind the section's, checked by lodge_name_check() */
    const LodgeKey *keys;
    gsize key_count;
    const char *help;
} LodgeSection;

/* Check that each section and key of @file is one of @sections (ended by a NULL name), and no
 * section stands twice. INVALID error: "<what>: line 2: unknown key “memry” in [guest] …". */
gboolean lodge_schema_check(const LodgeSection *sections, const LodgeKeyFile *file, GError **error);

/* Set the fields of @object from group @group of @file, which passed lodge_schema_check(); absent
 * keys give their fallback. The object's char * fields belong to it (g_free), after an error too.
 * INVALID error where a value does not pass its row or a key stands twice: "<what>: line 7: memory:
 * “2Q” is not a size …". */
gboolean lodge_schema_fill(const LodgeSection *section, const LodgeKeyFile *file, const char *group,
                           gpointer object, GError **error);

/* Free the char * fields that the table names. */
void lodge_schema_clear(const LodgeSection *section, gpointer object);

/* The value of a field as it would be written; NULL for an unset text. Free with g_free. */
char *lodge_schema_format(const LodgeKey *key, gconstpointer object);

/* Write the fields of @object that differ from their fallbacks into the group @group of @file. */
void lodge_schema_write(const LodgeSection *section, gconstpointer object, GKeyFile *file,
                        const char *group);

/* Would @value do for @key? USAGE error if not. On success the canonical spelling goes to
 * @out_canonical (may be NULL; free with g_free). */
gboolean lodge_schema_value(const LodgeKey *key, const char *value, char **out_canonical,
                            GError **error);

const LodgeKey *lodge_section_key(const LodgeSection *section, const char *name);
const LodgeSection *lodge_section_find(const LodgeSection *sections, const char *name);

/* The word with index @value among a CHOICE key's. Free with g_free. */
char *lodge_key_choice_word(const LodgeKey *key, int value);
