#include "config.h"

#include "base/base.h"
#include "model/model.h"

#include <string.h>

static LodgeKeyFile *
parse(const char *text, GError **error)
{
    return lodge_key_file_parse("it", text, strlen(text), error);
}

/* What GLib reads of a file is what we read of it. */
static void
test_as_glib(void)
{
    static const char text[] = "# comment\n\n  [one]  \r\n"
                               "plain=value\n"
                               "spaced =  two words  \n"
                               "  indented=yes\r\n"
                               "empty=\n"
                               "equals=a=b=c\n"
                               "escaped=\\sa\\tb\\nc\\\\d\\r\n"
                               "umlaut=größer\n"
                               " # another\n"
                               "[two words]\n"
                               "last=no newline";
    g_autoptr(GError) error = NULL;
    g_autoptr(LodgeKeyFile) file = parse(text, &error);
    g_assert_no_error(error);
    g_autoptr(GKeyFile) model = g_key_file_new();
    g_assert_true(g_key_file_load_from_data(model, text, strlen(text), G_KEY_FILE_NONE, NULL));
    gsize keys = 0;
    for (gsize i = 0; i < file->count; i++) {
        const LodgeEntry *entry = &file->entries[i];
        if (entry->key == NULL) {
            g_assert_true(g_key_file_has_group(model, entry->group));
            continue;
        }
        g_autofree char *value = g_key_file_get_string(model, entry->group, entry->key, &error);
        g_assert_no_error(error);
        g_assert_cmpstr(entry->value, ==, value);
        keys++;
    }
    g_assert_cmpuint(keys, ==, 8);
    g_assert_cmpuint(file->count, ==, 10);
    g_assert_cmpuint(file->entries[9].line, ==, 13);
}

static void
test_value(void)
{
    g_autoptr(LodgeKeyFile) file = parse("[a]\nx=1\n[b]\nx=2\nx=3\n", NULL);
    g_assert_cmpstr(lodge_key_file_value(file, "a", "x"), ==, "1");
    g_assert_cmpstr(lodge_key_file_value(file, "b", "x"), ==, "3");
    g_assert_null(lodge_key_file_value(file, "a", "y"));
    g_assert_null(lodge_key_file_value(file, "c", "x"));
}

static void
test_refused(void)
{
    static const struct {
        const char *text;
        const char *says;
    } bad[] = {
        {"x=1\n", "it: line 1: a key before the first [section]"},
        {"[a]\n\nwords\n", "it: line 3: neither a comment, [section] nor key=value"},
        {"[a]\n=1\n", "it: line 2: neither a comment, [section] nor key=value"},
        {"[]\n", "it: line 1: neither a comment, [section] nor key=value"},
        {"[a\n", "it: line 1: neither a comment, [section] nor key=value"},
        {"[a] b\n", "it: line 1: neither a comment, [section] nor key=value"},
        {"[a]\nx=\\q\n", "it: line 2: an escape other than \\s, \\n, \\t, \\r and \\\\"},
        {"[a]\nx=1\\\n", "it: line 2: an escape other than \\s, \\n, \\t, \\r and \\\\"},
        {"[a]\nx=\xff\n", "it: not a text file"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(parse(bad[i].text, &error));
        g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INVALID);
        g_assert_cmpstr(error->message, ==, bad[i].says);
    }
}

static void
test_empty(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LodgeKeyFile) file = parse("", &error);
    g_assert_no_error(error);
    g_assert_cmpuint(file->count, ==, 0);
}

/* A key that came stands with its group's; nothing else is moved. */
static void
test_text(void)
{
    static const char before[] = "# mine\n\n[guest]\n\nos=a\n\n# for work\nmemory=1G\n\n[disk d]\n"
                                 "file=d\n";
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_assert_true(
        g_key_file_load_from_data(file, before, strlen(before), G_KEY_FILE_KEEP_COMMENTS, NULL));
    g_autofree char *same = lodge_key_file_text(file, before);
    g_assert_cmpstr(same, ==, before);
    g_key_file_set_string(file, "guest", "memory", "2G");
    g_key_file_set_string(file, "guest", "cpus", "2");
    g_key_file_set_string(file, "guest", "tpm", "yes");
    g_key_file_set_string(file, "disk d", "iops", "5");
    g_key_file_set_string(file, "nic n", "mac", "m");
    g_autofree char *text = lodge_key_file_text(file, before);
    g_assert_cmpstr(text, ==,
                    "# mine\n\n[guest]\n\nos=a\n\n# for work\nmemory=2G\ncpus=2\ntpm=yes\n\n"
                    "[disk d]\nfile=d\niops=5\n\n[nic n]\nmac=m\n");
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/model/key-file/as-glib", test_as_glib);
    g_test_add_func("/model/key-file/value", test_value);
    g_test_add_func("/model/key-file/refused", test_refused);
    g_test_add_func("/model/key-file/empty", test_empty);
    g_test_add_func("/model/key-file/text", test_text);
    return g_test_run();
}
