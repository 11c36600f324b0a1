#include "config.h"

#include "model/recipe.h"

#include <string.h>

#include "base/base.h"

#define RECIPE(field) G_STRUCT_OFFSET(LodgeRecipe, field)
#define STEP(field) G_STRUCT_OFFSET(LodgeRecipeStep, field)
#define FILE_GROUP "file "
#define RUN_GROUP "run "

static const LodgeKey recipe_keys[] = {
    {"name", LODGE_TYPE_IMAGE, RECIPE(name), .help = "The image's name. Default: the file's."},
    {"base", LODGE_TYPE_IMAGE, RECIPE(base),
     .help = "The image that it is made of, which is built or fetched if it is not here."},
    {"title", LODGE_TYPE_TEXT, RECIPE(title), .help = "Its name for people."},
    {"user", LODGE_TYPE_USER, RECIPE(user), .help = "The login name that its guests get."},
    {"packages", LODGE_TYPE_TEXT, RECIPE(packages),
     .help = "Packages of the distribution to install, divided by spaces."},
    {"size", LODGE_TYPE_SIZE, RECIPE(size_bytes), "0",
     .help = "The disk's size, as large as the base's at least. 0: as the base's."},
    {"memory", LODGE_TYPE_SIZE, RECIPE(memory_bytes), "0",
     .help = "Memory of its guests, and while it is made. 0: as the base's."},
    {"cpus", LODGE_TYPE_COUNT, RECIPE(cpus), "0", .most = 255,
     .help = "CPUs of its guests, and while it is made. 0: as the base's."},
};

static const LodgeKey file_keys[] = {
    {"from", LODGE_TYPE_PATH, STEP(from),
     .help = "A file or folder of this host, relative to the recipe."},
    {"text", LODGE_TYPE_TEXT, STEP(text), .help = "Its content, instead: one line."},
    {"to", LODGE_TYPE_PATH, STEP(to), .help = "Where it goes in the image."},
    {"mode", LODGE_TYPE_TEXT, STEP(mode), .help = "Its mode, as chmod(1) takes it."},
    {"owner", LODGE_TYPE_TEXT, STEP(owner), .help = "Its owner, as chown(1) takes it."},
};

static const LodgeKey run_keys[] = {
    {"command", LODGE_TYPE_TEXT, STEP(command), .help = "A line for sh, run as root."},
    {"script", LODGE_TYPE_PATH, STEP(script),
     .help = "A script of this host, relative to the recipe, which sh runs, instead."},
};

static const LodgeSection sections[] = {
    {"image", FALSE, recipe_keys, G_N_ELEMENTS(recipe_keys), "What it is."},
    {"file", TRUE, file_keys, G_N_ELEMENTS(file_keys), "A file that goes into it."},
    {"run", TRUE, run_keys, G_N_ELEMENTS(run_keys), "A command that is run in it."},
    {NULL},
};

static void
step_free(gpointer data)
{
    LodgeRecipeStep *step = data;
    lodge_schema_clear(&sections[1], step);
    lodge_schema_clear(&sections[2], step);
    g_free(step->name);
    g_free(step);
}

void
lodge_recipe_free(LodgeRecipe *recipe)
{
    if (recipe != NULL) {
        lodge_schema_clear(&sections[0], recipe);
        g_ptr_array_unref(recipe->steps);
        g_free(recipe);
    }
}

static gboolean
check_step(const LodgeRecipeStep *step, const char *what, const char *group, GError **error)
{
    const char *one = step->is_file ? step->from : step->command;
    const char *other = step->is_file ? step->text : step->script;
    if ((one != NULL) == (other != NULL)) {
        return lodge_error_set(error, LODGE_ERROR_INVALID, "%s: [%s] needs %s, and not both", what,
                               group, step->is_file ? "from= or text=" : "command= or script=");
    }
    if (step->is_file && (step->to == NULL || !g_path_is_absolute(step->to))) {
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "%s: [%s] needs to=, a path that begins with a slash", what, group);
    }
    return TRUE;
}

static gboolean
add_step(LodgeRecipe *recipe, const LodgeKeyFile *file, const char *group, GError **error)
{
    gboolean is_file = g_str_has_prefix(group, FILE_GROUP);
    if (!is_file && !g_str_has_prefix(group, RUN_GROUP)) {
        return TRUE;
    }
    LodgeRecipeStep *step = g_new0(LodgeRecipeStep, 1);
    step->is_file = is_file;
    step->name = g_strdup(strchr(group, ' ') + 1);
    g_ptr_array_add(recipe->steps, step);
    return lodge_schema_fill(&sections[is_file ? 1 : 2], file, group, step, error) &&
           check_step(step, file->what, group, error);
}

LodgeRecipe *
lodge_recipe_parse(const char *name, const char *text, gsize length, GError **error)
{
    g_autofree char *what = g_strdup_printf("recipe %s", name);
    g_autoptr(LodgeKeyFile) file = lodge_key_file_parse(what, text, length, error);
    if (file == NULL || !lodge_schema_check(sections, file, error)) {
        return NULL;
    }
    g_autoptr(LodgeRecipe) recipe = g_new0(LodgeRecipe, 1);
    recipe->steps = g_ptr_array_new_with_free_func(step_free);
    if (!lodge_schema_fill(&sections[0], file, "image", recipe, error)) {
        return NULL;
    }
    for (gsize i = 0; i < file->count; i++) {
        const LodgeEntry *entry = &file->entries[i];
        if (entry->key == NULL && !add_step(recipe, file, entry->group, error)) {
            return NULL;
        }
    }
    if (recipe->base == NULL) {
        lodge_error_set(error, LODGE_ERROR_INVALID,
                        "%s: [image] needs base=, the image that it is made of", what);
        return NULL;
    }
    if (recipe->name == NULL) {
        recipe->name = g_strdup(name);
    }
    return lodge_image_name_check(recipe->name, error) ? g_steal_pointer(&recipe) : NULL;
}
