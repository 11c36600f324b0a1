/* A user's recipe: an image that is made of another one. */
#pragma once

#include <glib.h>

#include "model/schema.h"

typedef struct {
    char *name; /* [file NAME], [run NAME] */
    gboolean is_file;
    /* [file] */
    char *from; /* a path of this host, relative to the recipe's folder; NULL: text */
    char *text;
    char *to;
    char *mode, *owner; /* as chmod and chown take them; NULL: as they come, root's */
    /* [run] */
    char *command; /* for sh */
    char *script;  /* a file of this host, relative to the recipe's folder */
} LodgeRecipeStep;

typedef struct {
    char *name;
    char *base; /* an image, or a name of the catalogue */
    char *title;
    char *user;
    char *packages;       /* divided by spaces or commas */
    guint64 size_bytes;   /* of the disk; 0: as the base's */
    guint64 memory_bytes; /* what its guests get; 0: as the base's */
    guint cpus;           /* 0: as the base's */
    GPtrArray *steps;     /* LodgeRecipeStep *, in the file's order */
} LodgeRecipe;

/* Parse one; @name is the image's unless it says another. INVALID error with line and reason. */
LodgeRecipe *lodge_recipe_parse(const char *name, const char *text, gsize length, GError **error);
void lodge_recipe_free(LodgeRecipe *recipe);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeRecipe, lodge_recipe_free)
