#include "config.h"

#include "ops/image-build.h"

#include <string.h>

#include "base/base.h"
#include "image/image.h"
#include "image/making.h"
#include "model/recipe.h"
#include "ops/workshop.h"

enum {
    RECIPE_LIMIT_BYTES = 1 << 20,
    SCRIPT_LIMIT_BYTES = 1 << 20,
};

/* Whatever the distribution has; no questions, no suggestions. Once more when a mirror stutters. */
static const char install_script[] =
    "set -e\n"
    "set -- %s\n"
    "export DEBIAN_FRONTEND=noninteractive\n"
    "has() { command -v \"$1\" >/dev/null 2>&1; }\n"
    "if has apt-get; then\n"
    "    apt-get -q -o Acquire::Retries=3 -o APT::Update::Error-Mode=any update\n"
    "    apt-get -q -y -o Acquire::Retries=3 --no-install-recommends install \"$@\"\n"
    "    apt-get -q clean\n"
    "elif has dnf; then dnf -y install \"$@\"; dnf clean all\n"
    "elif has zypper; then zypper -n install \"$@\"; zypper clean -a\n"
    "elif has pacman; then pacman -Sy --noconfirm \"$@\"; pacman -Scc --noconfirm\n"
    "elif has apk; then apk add --no-cache \"$@\"\n"
    "else echo 'no package manager that Lodge knows: apt-get, dnf, zypper, pacman, apk' >&2; exit "
    "1\n"
    "fi\n";

typedef struct {
    const LodgeStore *store;
    const LodgeRecipe *recipe;
    const char *folder; /* the recipe's */
    LodgeProgress *progress;
} Build;

gboolean
lodge_recipe_is_file(const char *word)
{
    return strchr(word, '/') != NULL || g_str_has_suffix(word, ".conf") ||
           g_str_has_suffix(word, ".recipe");
}

static LodgeImage *
settings(const LodgeRecipe *recipe, const LodgeImage *base, GError **error)
{
    g_autofree char *text = lodge_image_format(base);
    LodgeImage *image = lodge_image_parse(recipe->name, text, strlen(text), error);
    if (image == NULL) {
        return NULL;
    }
    char **const files[] = {&image->disk, &image->more_disks, &image->kernel, &image->initrd};
    for (gsize i = 0; i < G_N_ELEMENTS(files); i++) {
        g_clear_pointer(files[i], g_free);
    }
    g_free(image->title);
    image->title = recipe->title != NULL
                       ? g_strdup(recipe->title)
                       : g_strdup_printf("%s, made of %s", recipe->name, recipe->base);
    if (recipe->user != NULL) {
        g_free(image->user);
        image->user = g_strdup(recipe->user);
    }
    image->cpus = recipe->cpus != 0 ? recipe->cpus : image->cpus;
    image->memory_bytes = recipe->memory_bytes != 0 ? recipe->memory_bytes : image->memory_bytes;
    image->size_bytes = recipe->size_bytes != 0 ? recipe->size_bytes : image->size_bytes;
    return image;
}

/* A path of this host in the recipe. Checked before anything is made. */
static char *
host_path(const Build *build, const char *path)
{
    return g_canonicalize_filename(path, build->folder);
}

static gboolean
check_files(const Build *build, GError **error)
{
    for (guint i = 0; i < build->recipe->steps->len; i++) {
        const LodgeRecipeStep *step = build->recipe->steps->pdata[i];
        const char *file = step->is_file ? step->from : step->script;
        g_autofree char *path = file != NULL ? host_path(build, file) : NULL;
        if (path != NULL && !g_file_test(path, G_FILE_TEST_EXISTS)) {
            return lodge_error_set(error, LODGE_ERROR_NOT_FOUND, "[%s %s]: no file %s",
                                   step->is_file ? "file" : "run", step->name, path);
        }
    }
    return TRUE;
}

static gboolean
install(Workshop *workshop, const char *packages, GError **error)
{
    g_auto(GStrv) names = g_strsplit_set(packages != NULL ? packages : "", " ,", -1);
    g_autoptr(GString) words = g_string_new(NULL);
    for (gsize i = 0; names[i] != NULL; i++) {
        if (*names[i] != '\0') {
            g_autofree char *quoted = lodge_text_shell_quote(names[i]);
            g_string_append_printf(words, "%s%s", words->len > 0 ? " " : "", quoted);
        }
    }
    if (words->len == 0) {
        return TRUE;
    }
    g_autoptr(GString) script = g_string_new(install_script);
    lodge_progress_stage(workshop->making->progress, "packages");
    g_string_replace(script, "%s", words->str, 1);
    return workshop_run(workshop, "packages", script->str, error);
}

/* The folders above it, the content where the recipe has it, mode and owner. */
static gboolean
put_file(const Build *build, Workshop *workshop, const LodgeRecipeStep *step, GError **error)
{
    g_autofree char *to = lodge_text_shell_quote(step->to);
    g_autofree char *what = g_strdup_printf("file %s", step->name);
    g_autoptr(GString) before = g_string_new("set -e\n");
    g_autoptr(GString) after = g_string_new("set -e\n");
    g_string_append_printf(before, "mkdir -p \"$(dirname %s)\"\n", to);
    if (step->text != NULL) {
        g_autofree char *text = lodge_text_shell_quote(step->text);
        g_string_append_printf(before, "printf '%%s\\n' %s >%s\n", text, to);
    }
    if (step->owner != NULL) {
        g_autofree char *owner = lodge_text_shell_quote(step->owner);
        g_string_append_printf(after, "chown -R %s %s\n", owner, to);
    }
    if (step->mode != NULL) {
        g_autofree char *mode = lodge_text_shell_quote(step->mode);
        g_string_append_printf(after, "chmod %s %s\n", mode, to);
    }
    g_autofree char *from = step->from != NULL ? host_path(build, step->from) : NULL;
    lodge_progress_stage(build->progress, "%s", what);
    return workshop_run(workshop, what, before->str, error) &&
           (from == NULL || workshop_put(workshop, from, step->to, error)) &&
           ((step->mode == NULL && step->owner == NULL) ||
            workshop_run(workshop, what, after->str, error));
}

static gboolean
run_step(const Build *build, Workshop *workshop, const LodgeRecipeStep *step, GError **error)
{
    g_autofree char *what = g_strdup_printf("run %s", step->name);
    g_autofree char *path = step->script != NULL ? host_path(build, step->script) : NULL;
    g_autofree char *script = path != NULL ? lodge_file_read(path, SCRIPT_LIMIT_BYTES, NULL, error)
                                           : g_strdup(step->command);
    lodge_progress_stage(build->progress, "%s", what);
    return script != NULL && workshop_run(workshop, what, script, error);
}

static gboolean
do_steps(const Build *build, Workshop *workshop, GError **error)
{
    const LodgeRecipe *recipe = build->recipe;
    if (!install(workshop, recipe->packages, error)) {
        return FALSE;
    }
    for (guint i = 0; i < recipe->steps->len; i++) {
        const LodgeRecipeStep *step = recipe->steps->pdata[i];
        if (!(step->is_file ? put_file(build, workshop, step, error)
                            : run_step(build, workshop, step, error))) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean
make_in(const Build *build, LodgeMaking *making, const LodgeImage *base, GError **error)
{
    const char *name = base->name;
    g_autofree char *disk = lodge_store_image_path(build->store, name, base->disk);
    g_autofree char *kernel = base->kernel != NULL
                                  ? lodge_store_image_path(build->store, name, base->kernel)
                                  : NULL;
    g_autofree char *initrd = base->initrd != NULL
                                  ? lodge_store_image_path(build->store, name, base->initrd)
                                  : NULL;
    const WorkshopWish wish = {.disk = disk,
                               .format = "qcow2",
                               .is_image = TRUE,
                               .like = making->image,
                               .kernel = kernel,
                               .initrd = initrd,
                               .kernel_arguments = base->kernel_arguments,
                               .uefi = base->uefi_only};
    g_auto(Workshop) workshop = {0};
    return workshop_copy_kernels(making, kernel, initrd, error) &&
           workshop_open(&workshop, making, &wish, error) && do_steps(build, &workshop, error) &&
           workshop_seal(&workshop, error) && workshop_finish(&workshop, error);
}

static gboolean
make(const Build *build, GError **error)
{
    const LodgeRecipe *recipe = build->recipe;
    if (g_str_equal(recipe->name, recipe->base)) {
        return lodge_error_set(error, LODGE_ERROR_INVALID, "it can't be made of itself");
    }
    if (!check_files(build, error) ||
        !lodge_image_ensure(build->store, recipe->base, build->progress, error)) {
        return FALSE;
    }
    g_autoptr(LodgeImage) base = lodge_store_image(build->store, recipe->base, error);
    LodgeImage *image = base != NULL ? settings(recipe, base, error) : NULL;
    g_auto(LodgeMaking) making = {0};
    g_autofree char *origin = g_strdup_printf("recipe of %s", recipe->base);
    return image != NULL &&
           lodge_making_begin(&making, build->store, image, LODGE_MAKING_ANEW, build->progress,
                              error) &&
           make_in(build, &making, base, error) && lodge_making_finish(&making, origin, error);
}

static char *
name_of(const char *file)
{
    g_autofree char *base = g_path_get_basename(file);
    char *dot = strrchr(base, '.');
    return g_strndup(base, dot != NULL && dot != base ? (gsize)(dot - base) : strlen(base));
}

gboolean
lodge_image_build_recipe(const LodgeStore *store, const char *file, LodgeProgress *progress,
                         char **out_name, GError **error)
{
    gsize length = 0;
    g_autofree char *name = name_of(file);
    g_autofree char *path = g_canonicalize_filename(file, NULL);
    g_autofree char *folder = g_path_get_dirname(path);
    g_autofree char *text = lodge_file_read(path, RECIPE_LIMIT_BYTES, &length, error);
    g_autoptr(LodgeRecipe) recipe = text != NULL ? lodge_recipe_parse(name, text, length, error)
                                                 : NULL;
    if (recipe == NULL) {
        return FALSE;
    }
    const Build build = {store, recipe, folder, progress};
    if (!make(&build, error)) {
        return lodge_error_prefix(error, "building image %s", recipe->name);
    }
    *out_name = g_strdup(recipe->name);
    return TRUE;
}
