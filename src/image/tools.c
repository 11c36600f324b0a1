/* Helper programs, shipped files, disk space. */
#include "config.h"

#include <string.h>

#include "image/internal.h"

static void
on_line(const char *line, gpointer data)
{
    LodgeProgress *progress = data;
    if (progress == NULL || *line != '{') {
        return;
    }
    g_autoptr(json_t) report = lodge_json_parse(line, strlen(line), "progress", NULL);
    json_int_t done = lodge_json_int(report, "done", -1);
    json_int_t total = lodge_json_int(report, "total", 0);
    if (done < 0) {
        return;
    }
    g_autofree char *present = lodge_size_human((guint64)done);
    g_autofree char *whole = total > 0 ? lodge_size_human((guint64)total) : NULL;
    g_autofree char *words = whole != NULL ? g_strdup_printf("%s of %s", present, whole)
                                           : g_strdup(present);
    lodge_progress_part(progress, total > 0 ? (double)done / (double)total : -1, words);
}

gboolean
lodge_image_run_helper(const char *const *argv, LodgeProgress *progress, char **out_output,
                       GError **error)
{
    g_autofree char *program = lodge_program_own(argv[0], LODGE_LIBEXEC_DIR);
    g_auto(GStrv) own = g_strdupv((char **)argv);
    g_free(own[0]);
    own[0] = g_strdup(program);
    LodgeProcess process = {.argv = (const char *const *)own, .on_line = on_line, .data = progress};
    return lodge_process_run(&process, out_output, error);
}

char *
lodge_image_resource(const LodgeStore *store, const char *folder, const char *name)
{
    g_autofree char *own = g_build_filename(store->root, folder, name, NULL);
    if (g_file_test(own, G_FILE_TEST_EXISTS)) {
        return g_steal_pointer(&own);
    }
    g_autofree char *relative = g_build_filename(folder, name, NULL);
    return lodge_program_own(relative, LODGE_DATA_DIR);
}

gboolean
lodge_image_check_space(const LodgeStore *store, guint64 need_bytes, const char *what,
                        GError **error)
{
    return lodge_file_system_check(store->root, need_bytes, what, error);
}
