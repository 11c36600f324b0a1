#include "config.h"

#include "image/tests/common.h"

#include <string.h>
#include <sys/stat.h>

LodgeStore *test_store;

void
test_begin(int *argc, char ***argv)
{
    g_test_init(argc, argv, NULL);
    g_autofree char *folder = g_dir_make_tmp("lodge-test-XXXXXX", NULL);
    g_setenv("LODGE_DIR", folder, TRUE);
    test_store = lodge_store_open(NULL);
}

int
test_finish(void)
{
    int status = g_test_run();
    lodge_tree_remove(test_store->root, NULL);
    lodge_store_free(test_store);
    return status;
}

void
test_run(const char *script)
{
    g_autoptr(GError) error = NULL;
    const char *const argv[] = {"sh", "-ec", script, NULL};
    lodge_process_run(&(LodgeProcess){.argv = argv, .folder = test_store->root}, NULL, &error);
    g_assert_no_error(error);
}

char *
test_path(const char *relative)
{
    return g_build_filename(test_store->root, relative, NULL);
}

void
test_write(const char *relative, const char *text, int mode)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = test_path(relative);
    g_autofree char *folder = g_path_get_dirname(path);
    lodge_dir_make(folder, 0755, &error);
    g_assert_no_error(error);
    lodge_file_write(path, text, strlen(text), (mode_t)mode, LODGE_WRITE_NO_SYNC, &error);
    g_assert_no_error(error);
}

gboolean
test_exists(const char *relative)
{
    g_autofree char *path = test_path(relative);
    return g_file_test(path, G_FILE_TEST_EXISTS);
}

gboolean
test_has_litter(void)
{
    gboolean found = FALSE;
    g_autofree char *path = test_path("images");
    g_autoptr(GDir) folder = g_dir_open(path, 0, NULL);
    for (const char *name; folder != NULL && (name = g_dir_read_name(folder)) != NULL;) {
        found = found || *name == '.';
    }
    return found;
}

void
test_entry(const char *name, const char *text)
{
    g_autofree char *file = g_strdup_printf("catalogue/%s.conf", name);
    test_write(file, text, 0644);
}

void
test_recipe(const char *name, const char *script)
{
    g_autofree char *file = g_strdup_printf("recipes/%s", name);
    g_autofree char *text = g_strconcat("#!/bin/sh\nset -eu\n", script, "\n", NULL);
    test_write(file, text, 0755);
}

void
test_guest(const char *name, const char *definition)
{
    g_autofree char *file = g_strdup_printf("guests/%s/guest.conf", name);
    test_write(file, definition, 0600);
}

static void
on_stage(LodgeProgress *progress, const char *words)
{
    g_string_append_printf(((TestListener *)progress)->stages, "%s\n", words);
}

static void
on_part(LodgeProgress *progress, double fraction, const char *words)
{
    (void)words;
    ((TestListener *)progress)->last = fraction;
}

TestListener *
test_listener(void)
{
    TestListener *listener = g_new0(TestListener, 1);
    listener->progress = (LodgeProgress){on_stage, on_part};
    listener->stages = g_string_new(NULL);
    return listener;
}

void
test_listener_free(TestListener *listener)
{
    g_string_free(listener->stages, TRUE);
    g_free(listener);
}

void
test_assert_error(GError **error, int code, const char *words)
{
    g_assert_nonnull(*error);
    g_test_message("%s", (*error)->message);
    g_assert_error(*error, LODGE_ERROR, code);
    g_assert_nonnull(strstr((*error)->message, words));
    g_clear_error(error);
}
