/* The layers of a guest's disks, and what is to be done so that no more of them stay than needed.
 * Pure: knows no file system. Private to this layer.
 *
 * A layer stands on another, or on an image, or on nothing. The definition names the layers that
 * are written; a snapshot names those that it keeps. A layer that nobody names any more is "given
 * up": without a layer above it is removed; with one, that one's content is merged into it. With
 * several it must stay, as long as there are several. */
#pragma once

#include <glib.h>

typedef struct {
    char *file;         /* absolute */
    char *format;       /* "qcow2" or "raw" */
    char *disk;         /* that it is a layer of */
    int below;          /* index of the layer it stands on; -1: an image, or nothing */
    gboolean named;     /* by a snapshot or the definition */
    gboolean given_up;  /* was named once, and Lodge may do away with it */
    char *outside;      /* a guest that stands on it; NULL: none */
    gboolean elsewhere; /* a disk outside of the guest's folder: never removed */
} Layer;

typedef enum {
    LAYER_REMOVE, /* its file goes */
    LAYER_MERGE,  /* its content goes into the layer below, which takes its place; then the same */
} LayerAct;

typedef struct {
    LayerAct act;
    guint layer;
    guint into; /* MERGE: the layer below */
} LayerStep;

/* An array of Layer * that frees them. */
GPtrArray *layers_new(void);

/* Add one; texts are copied. Returns its index. */
guint layers_add(GPtrArray *layers, const char *disk, const char *file, const char *format,
                 int below);

/* The index of the layer with that file, or -1. */
int layers_find(const GPtrArray *layers, const char *file);

/* The steps, each of which leaves every named layer's content as it is: LayerStep. Free with
 * g_array_unref. */
GArray *layers_plan(const GPtrArray *layers);
