#include "config.h"

#include <string.h>

#include "image/internal.h"

enum {
    CONF_LIMIT_BYTES = 64 << 10,
    LOG_LIMIT_BYTES = 4 << 20,
    TIMEOUT_MS = 2 * 60 * 60 * 1000,
};

/* A recipe at work, and what it said. */
typedef struct {
    LodgeProgress *progress;
    GString *log;
} Talk;

static void
note(Talk *talk, const char *line)
{
    if (talk->log->len < LOG_LIMIT_BYTES) {
        g_string_append_printf(talk->log, "%s\n", line);
    }
}

static void
on_line(const char *line, gpointer data)
{
    Talk *talk = data;
    note(talk, line);
    if (g_str_has_prefix(line, "stage ")) {
        g_autofree char *words = lodge_text_printable(line + strlen("stage "));
        lodge_progress_stage(talk->progress, "building: %s", words);
    }
}

static void
on_error_line(const char *line, gpointer data)
{
    note(data, line);
}

static char *
log_path(const LodgeMaking *making)
{
    g_autofree char *file = g_strdup_printf("build-%s.log", making->image->name);
    return g_build_filename(making->store->root, "cache", file, NULL);
}

/* An error's last line is rarely all there is to know. */
static void
keep_log(const LodgeMaking *making, const Talk *talk, GError **error)
{
    g_autofree char *path = log_path(making);
    g_autofree char *folder = g_path_get_dirname(path);
    if (talk->log->len > 0 && lodge_dir_make(folder, 0755, NULL) &&
        lodge_file_write(path, talk->log->str, talk->log->len, 0644, LODGE_WRITE_NO_SYNC, NULL) &&
        error != NULL && *error != NULL) {
        g_autofree char *longer = g_strdup_printf("%s (all it said: %s)", (*error)->message, path);
        g_free((*error)->message);
        (*error)->message = g_steal_pointer(&longer);
    }
}

static gboolean
run_recipe(const LodgeMaking *making, const char *recipe, GError **error)
{
    const LodgeImage *image = making->image;
    g_autofree char *scratch = lodge_making_path(making, "tmp");
    g_autofree char *out = lodge_making_path(making, "out");
    if (!lodge_dir_make(scratch, 0755, error) || !lodge_dir_make(out, 0755, error)) {
        return FALSE;
    }
    g_autofree char *suite = g_strconcat("LODGE_SUITE=", image->suite != NULL ? image->suite : "",
                                         NULL);
    g_autofree char *size = g_strdup_printf("LODGE_IMAGE_SIZE=%" G_GUINT64_FORMAT,
                                            image->size_bytes);
    g_autofree char *tmpdir = g_strconcat("TMPDIR=", scratch, NULL);
    g_autofree char *agent_path = lodge_program_own("lodge-agent", LODGE_LIBEXEC_DIR);
    g_autofree char *agent = g_strconcat("LODGE_AGENT=", agent_path, NULL);
    const char *const argv[] = {recipe, out, NULL};
    const char *const environment[] = {size, tmpdir, agent, image->suite != NULL ? suite : NULL,
                                       NULL};
    g_autoptr(GString) log = g_string_new(NULL);
    Talk talk = {making->progress, log};
    LodgeProcess process = {.argv = argv,
                            .environment = environment,
                            .timeout_ms = TIMEOUT_MS,
                            .on_line = on_line,
                            .on_error_line = on_error_line,
                            .data = &talk};
    g_autoptr(GError) problem = NULL;
    if (!lodge_process_run(&process, NULL, &problem)) {
        if (!g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_INTERRUPTED)) {
            keep_log(making, &talk, &problem);
        }
        g_propagate_prefixed_error(error, g_steal_pointer(&problem), "recipe ");
        return FALSE;
    }
    g_autofree char *old_log = log_path(making);
    return lodge_tree_remove(old_log, NULL) || TRUE;
}

/* [boot] cmdline=… of the recipe's recipe.conf. */
static char *
read_arguments(const LodgeMaking *making, GError **error)
{
    gsize length = 0;
    g_autofree char *path = lodge_making_path(making, "out/recipe.conf");
    g_autofree char *text = lodge_file_read(path, CONF_LIMIT_BYTES, &length, error);
    g_autoptr(LodgeKeyFile)
        file = text != NULL ? lodge_key_file_parse("recipe.conf", text, length, error) : NULL;
    if (file == NULL) {
        return NULL;
    }
    const char *arguments = lodge_key_file_value(file, "boot", "cmdline");
    if (arguments == NULL) {
        lodge_error_set(error, LODGE_ERROR_INVALID, "recipe.conf: [boot] has no cmdline");
    }
    return g_strdup(arguments);
}

static gboolean
expect_file(const LodgeMaking *making, const char *file, GError **error)
{
    g_autofree char *path = lodge_making_path(making, file);
    return (g_file_test(path, G_FILE_TEST_IS_REGULAR) &&
            !g_file_test(path, G_FILE_TEST_IS_SYMLINK)) ||
           lodge_error_set(error, LODGE_ERROR_INVALID,
                           "recipe %s ended well, but wrote no %s (a mistake in the recipe)",
                           making->image->recipe, strrchr(file, '/') + 1);
}

static gboolean
collect(LodgeMaking *making, GError **error)
{
    LodgeImage *image = making->image;
    if (!expect_file(making, "out/disk.qcow2", error)) {
        return FALSE;
    }
    image->disk = g_strdup("out/disk.qcow2");
    if (!image->direct_boot) {
        return TRUE;
    }
    if (!expect_file(making, "out/kernel", error) || !expect_file(making, "out/initrd", error)) {
        return FALSE;
    }
    image->kernel = g_strdup("out/kernel");
    image->initrd = g_strdup("out/initrd");
    image->kernel_arguments = read_arguments(making, error);
    return image->kernel_arguments != NULL;
}

static gboolean
build(LodgeMaking *making, GError **error)
{
    const LodgeImage *image = making->image;
    g_autofree char *recipe = lodge_image_resource(making->store, "recipes", image->recipe);
    if (!g_file_test(recipe, G_FILE_TEST_IS_EXECUTABLE)) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED, "recipe %s is not installed (%s)",
                               image->recipe, recipe);
    }
    g_autofree char *origin = g_strdup_printf("recipe %s%s%s", image->recipe,
                                              image->suite != NULL ? " " : "",
                                              image->suite != NULL ? image->suite : "");
    lodge_progress_stage(making->progress, "building");
    return lodge_image_check_space(making->store, image->space_bytes, "it", error) &&
           run_recipe(making, recipe, error) && collect(making, error) &&
           lodge_making_finish(making, origin, error);
}

gboolean
lodge_image_build_as(const LodgeStore *store, const char *name, LodgeMakingMode mode,
                     LodgeProgress *progress, GError **error)
{
    g_autoptr(LodgeImage) entry = lodge_catalogue_find(store, name, error);
    if (entry == NULL) {
        return FALSE;
    }
    if (entry->recipe == NULL) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "image %s can't be built: its catalogue entry has no recipe", name);
    }
    g_auto(LodgeMaking) making = {0};
    return (lodge_making_begin(&making, store, g_steal_pointer(&entry), mode, progress, error) &&
            build(&making, error)) ||
           lodge_error_prefix(error, "building image %s", name);
}

gboolean
lodge_image_build(const LodgeStore *store, const char *name, LodgeProgress *progress,
                  GError **error)
{
    return lodge_image_build_as(store, name, LODGE_MAKING_ANEW, progress, error);
}
