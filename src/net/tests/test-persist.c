/* Golden pairs: tests/golden/persist/NAME.in is what of a host's files matters, each behind a line
 * "==> PATH"; NAME.out is who configures eth0 there, and the files that make br0 last.
 * LODGE_TEST_REGENERATE=1 writes the latter anew. */
#include "config.h"

#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "net/persist/host-files.h"

static char *golden;

/* Make a tree of what the text describes. */
static void
unfold(const char *sysroot, const char *text)
{
    g_auto(GStrv) parts = g_strsplit(text, "==> ", -1);
    for (gsize i = 1; parts[i] != NULL; i++) {
        char *line_end = strchr(parts[i], '\n');
        g_autofree char *name = g_strndup(parts[i], (gsize)(line_end - parts[i]));
        g_autofree char *path = g_strconcat(sysroot, name, NULL);
        g_autofree char *folder = g_path_get_dirname(path);
        g_assert_true(lodge_dir_make(folder, 0755, NULL));
        g_assert_true(lodge_file_write(path, line_end + 1, strlen(line_end + 1), 0644,
                                       LODGE_WRITE_NO_SYNC, NULL));
    }
}

static char *
fold(const LodgeHostChange *change)
{
    GString *text = g_string_new(NULL);
    g_string_append_printf(text, "%s\n", lodge_manager_word(change->manager));
    for (guint i = 0; i < change->after->len; i++) {
        const LodgeHostFile *file = change->after->pdata[i];
        if (file->target != NULL) {
            g_string_append_printf(text, "==> %s -> %s\n", file->path, file->target);
        } else if (file->text == NULL) {
            g_string_append_printf(text, "==> %s is removed\n", file->path);
        } else {
            g_string_append_printf(text, "==> %s (%o)\n%s", file->path, file->mode, file->text);
        }
    }
    return g_string_free(text, FALSE);
}

static char *
snapshot(const char *sysroot)
{
    const char *const argv[] = {"sh", "-c",
                                "cd \"$0\" && find . ! -type d | sort | xargs -r tail -n "
                                "+1; find . -type l",
                                sysroot, NULL};
    char *output = NULL;
    g_autoptr(GError) error = NULL;
    lodge_process_run_argv(argv, 30000, &output, &error);
    g_assert_no_error(error);
    return output;
}

/* Forward, forward again, back, and back again: what was, is. */
static void
check_ways(const LodgeHostChange *planned, const char *sysroot)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(json_t) kept = lodge_host_change_json(planned);
    g_autoptr(LodgeHostChange) change = lodge_host_change_from_json(kept, &error);
    g_assert_no_error(error);
    g_autofree char *before = snapshot(sysroot);
    static const gboolean ways[] = {TRUE, TRUE, FALSE, FALSE};
    for (gsize i = 0; i < G_N_ELEMENTS(ways); i++) {
        lodge_host_change_apply(change, sysroot, ways[i], &error);
        g_assert_no_error(error);
        g_autofree char *now = snapshot(sysroot);
        g_assert_true(g_str_equal(now, before) != ways[i]);
    }
    /* What somebody else changed is not touched, and nothing else is. */
    const LodgeHostFile *file = change->after->pdata[0];
    g_autofree char *path = g_strconcat(sysroot, file->path, NULL);
    g_autofree char *folder = g_path_get_dirname(path);
    lodge_dir_make(folder, 0755, NULL);
    g_assert_true(lodge_file_write(path, "mine\n", 5, 0644, LODGE_WRITE_NO_SYNC, NULL));
    g_assert_false(lodge_host_change_apply(change, sysroot, TRUE, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INVALID);
    g_assert_nonnull(strstr(error->message, file->path));
}

static void
test_golden(gconstpointer data)
{
    const char *name = data;
    g_autoptr(GError) error = NULL;
    g_autofree char *in_path = g_strdup_printf("%s/persist/%s", golden, name);
    g_autofree char *stem = g_strndup(name, strlen(name) - strlen(".in"));
    g_autofree char *out_path = g_strdup_printf("%s/persist/%s.out", golden, stem);
    g_autofree char *in = lodge_file_read(in_path, 1 << 20, NULL, &error);
    g_assert_no_error(error);
    g_autofree char *sysroot = g_dir_make_tmp("lodge-persist-XXXXXX", NULL);
    unfold(sysroot, in);
    LodgeHostLink link = {sysroot, "eth0", "br0", "52:54:00:12:34:56", 2};
    g_autoptr(LodgeHostChange) change = lodge_host_change_plan(&link, &error);
    g_autofree char *out = change != NULL ? fold(change)
                                          : g_strdup_printf("refused: %s\n", error->message);
    if (g_getenv("LODGE_TEST_REGENERATE") != NULL) {
        g_assert_true(
            lodge_file_write(out_path, out, strlen(out), 0644, LODGE_WRITE_NO_SYNC, NULL));
    }
    g_autofree char *expected = lodge_file_read(out_path, 1 << 20, NULL, NULL);
    g_assert_cmpstr(out, ==, expected);
    if (change != NULL) {
        check_ways(change, sysroot);
    }
    lodge_tree_remove(sysroot, NULL);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    golden = argv[1];
    g_autofree char *folder = g_build_filename(golden, "persist", NULL);
    g_auto(GStrv) names = lodge_dir_names(folder, NULL);
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        if (g_str_has_suffix(names[i], ".in")) {
            g_autofree char *path = g_strconcat("/net/persist/", names[i], NULL);
            g_test_add_data_func_full(path, g_strdup(names[i]), test_golden, g_free);
        }
    }
    return g_test_run();
}
