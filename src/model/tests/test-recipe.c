#include "config.h"

#include "model/recipe.h"

#include <string.h>

#include "base/base.h"

static LodgeRecipe *
parse(const char *text, GError **error)
{
    return lodge_recipe_parse("mine", text, strlen(text), error);
}

static void
test_whole(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LodgeRecipe) recipe = parse("[run first]\ncommand=true\n"
                                          "[image]\nbase=debian-12\nname=web\npackages=a b\n"
                                          "size=20G\ncpus=3\n"
                                          "[file conf]\nfrom=x\nto=/etc/x\nmode=0600\nowner=a:b\n"
                                          "[file word]\ntext=a b\nto=/etc/y\n"
                                          "[run last]\nscript=do.sh\n",
                                          &error);
    g_assert_no_error(error);
    g_assert_cmpstr(recipe->name, ==, "web");
    g_assert_cmpstr(recipe->base, ==, "debian-12");
    g_assert_cmpuint(recipe->size_bytes, ==, G_GUINT64_CONSTANT(20) << 30);
    g_assert_cmpuint(recipe->cpus, ==, 3);
    g_assert_cmpuint(recipe->steps->len, ==, 4);
    const LodgeRecipeStep *const *steps = (const LodgeRecipeStep *const *)recipe->steps->pdata;
    g_assert_cmpstr(steps[0]->command, ==, "true");
    g_assert_true(steps[1]->is_file);
    g_assert_cmpstr(steps[1]->owner, ==, "a:b");
    g_assert_cmpstr(steps[2]->text, ==, "a b");
    g_assert_cmpstr(steps[3]->script, ==, "do.sh");
}

static void
test_refused(void)
{
    static const char *const rows[][2] = {
        {"", "needs base="},
        {"[image]\nbase=a\nname=A B\n", "name"},
        {"[image]\nbas=a\n", "did you mean “base”?"},
        {"[images]\nbase=a\n", "did you mean"},
        {"[image]\nbase=a\nsize=much\n", "line 3: size"},
        {"[image]\nbase=a\n[file x]\nto=/x\n", "[file x] needs from= or text="},
        {"[image]\nbase=a\n[file x]\nto=/x\nfrom=a\ntext=b\n", "not both"},
        {"[image]\nbase=a\n[file x]\nfrom=a\n", "needs to="},
        {"[image]\nbase=a\n[file x]\nfrom=a\nto=x\n", "begins with a slash"},
        {"[image]\nbase=a\n[run x]\n", "command= or script="},
        {"[image]\nbase=a\n[run x]\nfrom=a\n", "from"},
        {"[image]\nbase=a\n[image]\n", "twice"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_test_message("%s", rows[i][0]);
        g_assert_null(parse(rows[i][0], &error));
        g_assert_nonnull(error);
        g_test_message("%s", error->message);
        g_assert_nonnull(strstr(error->message, rows[i][1]));
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/model/recipe/whole", test_whole);
    g_test_add_func("/model/recipe/refused", test_refused);
    return g_test_run();
}
