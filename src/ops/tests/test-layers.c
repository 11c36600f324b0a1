#include "config.h"

#include <string.h>

#include "base/base.h"
#include "ops/layers.h"

/* "a b:a! c:b? d:b@": b stands on a; '!' named, '?' given up, '@' given up and needed outside. */
static GPtrArray *
read_layers(const char *text)
{
    GPtrArray *layers = layers_new();
    g_auto(GStrv) words = g_strsplit(text, " ", -1);
    for (gsize i = 0; words[i] != NULL; i++) {
        gsize length = strlen(words[i]);
        const char last = words[i][length - 1];
        if (strchr("!?@", last) != NULL) {
            words[i][length - 1] = '\0';
        }
        char *colon = strchr(words[i], ':');
        if (colon != NULL) {
            *colon++ = '\0';
        }
        int below = colon != NULL ? layers_find(layers, colon) : -1;
        g_assert_true(colon == NULL || below >= 0);
        layers_add(layers, "root", words[i], "qcow2", below);
        Layer *layer = layers->pdata[i];
        layer->named = last == '!';
        layer->given_up = last == '?' || last == '@';
        layer->outside = last == '@' ? g_strdup("web2") : NULL;
    }
    return layers;
}

/* "-c" removes c, "c>b" merges c into b. */
static char *
write_steps(const GPtrArray *layers, const GArray *steps)
{
    GString *text = g_string_new(NULL);
    for (guint i = 0; i < steps->len; i++) {
        const LayerStep *step = &g_array_index(steps, LayerStep, i);
        const char *file = ((const Layer *)layers->pdata[step->layer])->file;
        const char *space = i > 0 ? " " : "";
        if (step->act == LAYER_REMOVE) {
            g_string_append_printf(text, "%s-%s", space, file);
        } else {
            g_string_append_printf(text, "%s%s>%s", space, file,
                                   ((const Layer *)layers->pdata[step->into])->file);
        }
    }
    return g_string_free(text, FALSE);
}

static void
test_plans(void)
{
    static const struct {
        const char *layers, *steps;
    } cases[] = {
        {"a!", ""},
        {"a! b:a!", ""},                /* one snapshot */
        {"a? b:a!", "b>a"},             /* it is deleted */
        {"a? b:a? c:b!", "b>a c>a"},    /* two are */
        {"a! b:a? c:b!", "c>b"},        /* the upper of two */
        {"a? b:a! c:b!", "b>a"},        /* the lower */
        {"a! b:a? c:a!", "-b"},         /* what was written before a restore */
        {"a! b:a? c:b? d:a!", "-c -b"}, /* the same, with a snapshot on that branch */
        {"a? b:a! c:a!", ""},           /* two branches stand on it */
        {"a? b:a? c:a!", "-b c>a"},     /* until one goes */
        {"a? b:a? c:b! d:b!", "b>a"},   /* the fork of the branches moves down */
        {"a b:a!", ""},                 /* never was Lodge's to do away with */
        {"a@ b:a!", ""},                /* another guest stands on it */
        {"a? b:a@", ""},                /* and on the one above it */
        {"a? b:a@ c:a?", "-c"},
        {"a? b:a! x? y:x!", "b>a y>x"}, /* two disks */
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GPtrArray) layers = read_layers(cases[i].layers);
        g_autoptr(GArray) steps = layers_plan(layers);
        g_autofree char *text = write_steps(layers, steps);
        g_assert_cmpstr(text, ==, cases[i].steps);
    }
}

static gboolean
is_same(const GPtrArray *layers, const GArray *steps, guint done, guint layer, guint *content)
{
    /* Content is the set of layers it was made of, as bits; merging unites. */
    guint below[32], own[32];
    for (guint i = 0; i < layers->len; i++) {
        below[i] = (guint)((const Layer *)layers->pdata[i])->below;
        own[i] = 1u << i;
    }
    guint name = layer;
    for (guint i = 0; i < done; i++) {
        const LayerStep *step = &g_array_index(steps, LayerStep, i);
        if (step->act == LAYER_REMOVE) {
            own[step->layer] = 0;
            continue;
        }
        own[step->into] |= own[step->layer];
        name = name == step->layer ? step->into : name;
        for (guint j = 0; j < layers->len; j++) {
            below[j] = below[j] == step->layer ? step->into : below[j];
        }
    }
    guint sum = 0;
    for (guint at = name; at < layers->len; at = below[at]) {
        sum |= own[at];
    }
    *content = done == 0 ? sum : *content;
    return sum == *content;
}

/* Whatever the tree, after each step each named layer still consists of the same. */
static void
test_nothing_is_lost(void)
{
    for (guint round = 0; round < 3000; round++) {
        g_autoptr(GPtrArray) layers = layers_new();
        guint count = (guint)g_test_rand_int_range(1, 12);
        for (guint i = 0; i < count; i++) {
            g_autofree char *file = g_strdup_printf("%u", i);
            int below = i == 0 ? -1 : g_test_rand_int_range(-1, (gint32)i);
            layers_add(layers, "root", file, "qcow2", below);
            Layer *layer = layers->pdata[i];
            layer->named = g_test_rand_bit();
            layer->given_up = g_test_rand_bit();
            layer->outside = g_test_rand_int_range(0, 5) == 0 ? g_strdup("web2") : NULL;
        }
        g_autoptr(GArray) steps = layers_plan(layers);
        for (guint i = 0; i < count; i++) {
            const Layer *layer = layers->pdata[i];
            guint content = 0;
            for (guint done = 0; done <= steps->len && (layer->named || layer->outside != NULL);
                 done++) {
                g_assert_true(is_same(layers, steps, done, i, &content));
            }
        }
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ops/layers/plans", test_plans);
    g_test_add_func("/ops/layers/nothing-is-lost", test_nothing_is_lost);
    return g_test_run();
}
