#include "config.h"

#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/park-view.h"
#include "image/image.h"
#include "ops/image-build.h"
#include "ops/image-make.h"

static char *option_format, *option_user;
static gboolean option_trust, option_seal;

const GOptionEntry lodge_options_image_import[] = {
    {"format", 0, 0, G_OPTION_ARG_STRING, &option_format,
     "The disk's format, if it is not to be recognised", "FORMAT"},
    {"user", 0, 0, G_OPTION_ARG_STRING, &option_user, "The login name its guests have", "NAME"},
    {"trust", 0, 0, G_OPTION_ARG_NONE, &option_trust,
     "It may stand on other files of this host, which are merged in", NULL},
    {NULL},
};

const GOptionEntry lodge_options_image_make[] = {
    {"seal", 0, 0, G_OPTION_ARG_NONE, &option_seal, "Without what is the guest's own", NULL},
    {NULL},
};

static const char *
ways_of(const LodgeImage *entry)
{
    if (entry->recipe != NULL) {
        return entry->url != NULL ? "build or pull" : "build";
    }
    return entry->url != NULL ? "pull" : "";
}

static guint64
image_size(const LodgeCli *cli, const LodgeImage *image)
{
    g_autofree char *folder = lodge_store_image_path(cli->store, image->name, NULL);
    return lodge_tree_allocated(folder);
}

static json_t *
image_json(const LodgeCli *cli, const LodgeImage *image, gboolean is_here)
{
    return json_pack(
        "{s:s, s:o, s:b, s:o, s:I, s:I, s:o, s:o, s:o}", "name", image->name, "title",
        lodge_json_string_or_null(image->title), "here", is_here, "user",
        lodge_json_string_or_null(image->user), "size_bytes", (json_int_t)image->size_bytes,
        "allocated_bytes", is_here ? (json_int_t)image_size(cli, image) : (json_int_t)0, "made",
        lodge_json_string_or_null(image->made), "origin", lodge_json_string_or_null(image->origin),
        "parked", lodge_parked_json(cli->store, image->name));
}

/* What making or importing an image ended with; NULL if it is gone again already. */
static json_t *
say_made(const LodgeCli *cli, const char *name, gint64 time_ms, const char *option, GError **error)
{
    g_autoptr(LodgeImage) image = lodge_store_image(cli->store, name, error);
    if (image == NULL) {
        return NULL;
    }
    if (!cli->json) {
        g_autofree char *time = lodge_duration_human(time_ms);
        lodge_say(cli, "Image %s is here, after %s. Use it: lodge create NAME %s %s", name, time,
                  option, name);
    }
    json_t *value = image_json(cli, image, TRUE);
    json_object_set_new(value, "took_ms", json_integer(time_ms));
    return value;
}

static void
add_row(LodgeTable *table, const LodgeCli *cli, const LodgeImage *image, gboolean is_here)
{
    g_autofree char *size = is_here ? lodge_size_human(image_size(cli, image)) : g_strdup("–");
    g_autofree char *made = lodge_time_shown(image->made);
    const char *cells[] = {image->name, is_here ? "here" : ways_of(image), size, made,
                           image->title != NULL ? image->title : ""};
    lodge_table_add(table, cells);
}

/* The images that are here, then those of the catalogue that are not. */
gboolean
lodge_cmd_image_list(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    (void)argv;
    static const char *const titles[] = {"NAME", "STATE", "SIZE>", "MADE", "TITLE", NULL};
    g_auto(GStrv) names = lodge_store_images(cli->store, error);
    g_autoptr(GPtrArray) catalogue = names != NULL ? lodge_catalogue_list(cli->store, error) : NULL;
    if (catalogue == NULL) {
        return FALSE;
    }
    g_autoptr(LodgeTable) table = lodge_table_new(titles);
    g_autoptr(json_t) list = json_array();
    for (gsize i = 0; names[i] != NULL; i++) {
        g_autoptr(GError) problem = NULL;
        g_autoptr(LodgeImage) image = lodge_store_image(cli->store, names[i], &problem);
        if (image == NULL) {
            const char *cells[] = {names[i], "broken", "–", "–", problem->message};
            lodge_table_add(table, cells);
            json_array_append_new(list, json_pack("{s:s, s:b, s:s}", "name", names[i], "here", TRUE,
                                                  "definition_error", problem->message));
            continue;
        }
        add_row(table, cli, image, TRUE);
        json_array_append_new(list, image_json(cli, image, TRUE));
    }
    for (guint i = 0; i < catalogue->len; i++) {
        const LodgeImage *entry = catalogue->pdata[i];
        if (!g_strv_contains((const char *const *)names, entry->name)) {
            add_row(table, cli, entry, FALSE);
            json_array_append_new(list, image_json(cli, entry, FALSE));
        }
    }
    if (cli->json) {
        lodge_print_json(g_steal_pointer(&list));
    } else {
        lodge_table_print(table, cli);
    }
    return TRUE;
}

gboolean
lodge_cmd_image_show(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    g_autoptr(GError) problem = NULL;
    gboolean is_here = TRUE;
    g_autoptr(LodgeImage) image = lodge_store_image(cli->store, argv[1], &problem);
    if (image == NULL && g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_NOT_FOUND)) {
        g_clear_error(&problem);
        is_here = FALSE;
        image = lodge_catalogue_find(cli->store, argv[1], &problem);
    }
    if (image == NULL) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    if (cli->json) {
        lodge_print_json(image_json(cli, image, is_here));
        return TRUE;
    }
    g_autofree char *name = lodge_colour(cli->colour_out, "bold", image->name);
    printf("%s%s\n", name, is_here ? "" : "  (not here yet)");
    for (const LodgeSection *section = lodge_image_sections(); section->name != NULL; section++) {
        for (gsize i = 0; i < section->key_count; i++) {
            g_autofree char *value = lodge_schema_format(&section->keys[i], image);
            if (value != NULL) {
                gboolean is_time = g_str_equal(section->keys[i].name, "made");
                g_autofree char *shown = is_time ? lodge_time_shown(value)
                                                 : lodge_text_printable(value);
                printf("  %-18s %s\n", section->keys[i].name, shown);
            }
        }
    }
    lodge_parked_print(cli->store, image->name);
    g_auto(GStrv) users = is_here ? lodge_image_dependents(cli->store, image->name, error) : NULL;
    g_autofree char *list = users != NULL ? g_strjoinv(", ", users) : NULL;
    if (list != NULL && *list != '\0') {
        printf("  %-18s %s\n", "guests", list);
    }
    return TRUE;
}

/* @out_name: of the image that it made; g_free. */
typedef gboolean (*MakeFunc)(const LodgeStore *store, const char *word, LodgeProgress *progress,
                             char **out_name, GError **error);

static gboolean
make_each(LodgeCli *cli, char **names, MakeFunc make, GError **error)
{
    g_autoptr(json_t) list = json_array();
    for (gsize i = 0; names[i] != NULL; i++) {
        LodgeProgress *progress = lodge_cli_progress_new(cli);
        g_autofree char *name = NULL;
        gboolean fine = make(cli->store, names[i], progress, &name, error);
        gint64 time_ms = lodge_cli_progress_end(progress, fine);
        json_t *made = fine ? say_made(cli, name, time_ms,
                                       lodge_recipe_is_file(names[i]) ? "--image" : "--os", error)
                            : NULL;
        if (made == NULL) {
            return FALSE;
        }
        json_array_append_new(list, made);
    }
    if (cli->json) {
        lodge_print_json(g_steal_pointer(&list));
    }
    return TRUE;
}

/* A name of the catalogue, or a recipe's file. */
static gboolean
build(const LodgeStore *store, const char *word, LodgeProgress *progress, char **out_name,
      GError **error)
{
    if (lodge_recipe_is_file(word)) {
        return lodge_image_build_recipe(store, word, progress, out_name, error);
    }
    *out_name = g_strdup(word);
    return lodge_image_build(store, word, progress, error);
}

static gboolean
pull(const LodgeStore *store, const char *word, LodgeProgress *progress, char **out_name,
     GError **error)
{
    *out_name = g_strdup(word);
    return lodge_image_pull(store, word, progress, error);
}

gboolean
lodge_cmd_image_build(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    return make_each(cli, argv + 1, build, error);
}

gboolean
lodge_cmd_image_pull(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    return make_each(cli, argv + 1, pull, error);
}

gboolean
lodge_cmd_image_import(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    /* Other programs take the file first. */
    if (!g_file_test(argv[2], G_FILE_TEST_EXISTS) && g_file_test(argv[1], G_FILE_TEST_IS_REGULAR)) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "there is no file %s (did you mean `lodge image import %s %s`?)",
                               argv[2], argv[2], argv[1]);
    }
    g_autofree char *text = option_user != NULL ? g_strdup_printf("[image]\nuser=%s\n", option_user)
                                                : g_strdup("[image]\n");
    g_autoptr(LodgeImage) like = lodge_image_parse(argv[1], text, strlen(text), error);
    if (like == NULL) {
        return FALSE;
    }
    LodgeImageImport import = {
        .file = argv[2], .format = option_format, .trusted = option_trust, .like = like};
    LodgeProgress *progress = lodge_cli_progress_new(cli);
    gboolean fine = lodge_image_import(cli->store, argv[1], &import, progress, error);
    gint64 time_ms = lodge_cli_progress_end(progress, fine);
    g_autoptr(json_t) made = fine ? say_made(cli, argv[1], time_ms, "--image", error) : NULL;
    if (made != NULL && cli->json) {
        lodge_print_json(g_steal_pointer(&made));
        return TRUE;
    }
    return made != NULL;
}

gboolean
lodge_cmd_image_make(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    LodgeProgress *progress = lodge_cli_progress_new(cli);
    gboolean fine = lodge_image_make(cli->store, argv[1], argv[2], option_seal, progress, error);
    gint64 time_ms = lodge_cli_progress_end(progress, fine);
    g_autoptr(json_t) made = fine ? say_made(cli, argv[2], time_ms, "--image", error) : NULL;
    if (made != NULL && cli->json) {
        lodge_print_json(g_steal_pointer(&made));
        return TRUE;
    }
    return made != NULL;
}

gboolean
lodge_cmd_image_delete(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    g_autoptr(json_t) list = json_array();
    for (gsize i = 1; argv[i] != NULL; i++) {
        g_autofree char *folder = lodge_store_image_path(cli->store, argv[i], NULL);
        g_autoptr(GError) problem = NULL;
        g_autoptr(LodgeImage) image = lodge_store_image(cli->store, argv[i], &problem);
        /* One that is broken may be deleted too. */
        if (image == NULL && !g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_INVALID)) {
            g_propagate_error(error, g_steal_pointer(&problem));
            return FALSE;
        }
        g_autofree char *size = lodge_size_human(lodge_tree_allocated(folder));
        g_autofree char *question = g_strdup_printf("Delete image %s (%s)?", argv[i], size);
        if ((!lodge_option_yes && !lodge_ask(question, error)) ||
            !lodge_image_delete(cli->store, argv[i], error)) {
            return FALSE;
        }
        if (!cli->json) {
            lodge_say(cli, "Image %s is deleted.", argv[i]);
        }
        json_array_append_new(list, json_pack("{s:s, s:b}", "name", argv[i], "done", TRUE));
    }
    if (cli->json) {
        lodge_print_json(g_steal_pointer(&list));
    }
    return TRUE;
}
