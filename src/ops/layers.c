#include "config.h"

#include "ops/layers.h"

static void
layer_free(gpointer data)
{
    Layer *layer = data;
    g_free(layer->file);
    g_free(layer->format);
    g_free(layer->disk);
    g_free(layer->outside);
    g_free(layer);
}

GPtrArray *
layers_new(void)
{
    return g_ptr_array_new_with_free_func(layer_free);
}

guint
layers_add(GPtrArray *layers, const char *disk, const char *file, const char *format, int below)
{
    Layer *layer = g_new0(Layer, 1);
    layer->file = g_strdup(file);
    layer->format = g_strdup(format);
    layer->disk = g_strdup(disk);
    layer->below = below;
    g_ptr_array_add(layers, layer);
    return layers->len - 1;
}

int
layers_find(const GPtrArray *layers, const char *file)
{
    for (guint i = 0; i < layers->len; i++) {
        const Layer *layer = layers->pdata[i];
        if (g_str_equal(layer->file, file)) {
            return (int)i;
        }
    }
    return -1;
}

/* What the planner changes as it goes. */
typedef struct {
    int below;
    gboolean named;
    gboolean gone;
} Mark;

static guint
count_above(const Mark *marks, guint count, guint layer, guint *out_last)
{
    guint above = 0;
    for (guint i = 0; i < count; i++) {
        if (!marks[i].gone && marks[i].below == (int)layer) {
            above++;
            *out_last = i;
        }
    }
    return above;
}

static void
merge(Mark *marks, guint count, guint layer, guint into)
{
    marks[layer].gone = TRUE;
    marks[into].named = marks[layer].named;
    for (guint i = 0; i < count; i++) {
        if (marks[i].below == (int)layer) {
            marks[i].below = (int)into;
        }
    }
}

static gboolean
may_go(const GPtrArray *layers, const Mark *marks, guint index)
{
    const Layer *layer = layers->pdata[index];
    return !marks[index].gone && !marks[index].named && layer->given_up && layer->outside == NULL;
}

/* The next thing to do, if there is any: removals first, for they may save a merge. */
static gboolean
next_step(const GPtrArray *layers, Mark *marks, LayerStep *out_step)
{
    guint above = 0;
    for (guint i = 0; i < layers->len; i++) {
        if (may_go(layers, marks, i) && !((const Layer *)layers->pdata[i])->elsewhere &&
            count_above(marks, layers->len, i, &above) == 0) {
            *out_step = (LayerStep){LAYER_REMOVE, i, 0};
            marks[i].gone = TRUE;
            return TRUE;
        }
    }
    for (guint i = 0; i < layers->len; i++) {
        /* What another guest stands on must keep its name. */
        if (may_go(layers, marks, i) && count_above(marks, layers->len, i, &above) == 1 &&
            ((const Layer *)layers->pdata[above])->outside == NULL) {
            *out_step = (LayerStep){LAYER_MERGE, above, i};
            merge(marks, layers->len, above, i);
            return TRUE;
        }
    }
    return FALSE;
}

GArray *
layers_plan(const GPtrArray *layers)
{
    LayerStep step;
    GArray *steps = g_array_new(FALSE, FALSE, sizeof(LayerStep));
    g_autofree Mark *marks = g_new0(Mark, layers->len + 1);
    for (guint i = 0; i < layers->len; i++) {
        const Layer *layer = layers->pdata[i];
        marks[i].below = layer->below;
        marks[i].named = layer->named;
    }
    while (next_step(layers, marks, &step)) {
        g_array_append_val(steps, step);
    }
    return steps;
}
