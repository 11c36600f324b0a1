/* Images by users' recipes. */
#pragma once

#include <glib.h>

#include "base/progress.h"
#include "store/store.h"

/* Is the word a recipe's file, rather than a name of the catalogue? It has a slash, or ends in
 * ".conf" or ".recipe". */
gboolean lodge_recipe_is_file(const char *word);

/* Make an image by the recipe in @file, or make it anew: a guest of the base image boots in hiding,
 * the recipe's steps are done in it, and what is its own is removed. The base is built or fetched
 * if need be. @out_name: the image's, g_free. On any failure what was there before stays, and
 * nothing else. FAILED with what the command said that failed; INVALID: the recipe, with its line;
 * UNSUPPORTED: the base is no Linux with a package manager that is known, or has no way in. */
gboolean lodge_image_build_recipe(const LodgeStore *store, const char *file,
                                  LodgeProgress *progress, char **out_name, GError **error);
