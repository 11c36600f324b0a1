/* Definitions of guests, networks and images: files that people edit, and that come with images.
 * What one parser takes, it must take again when written anew. */
#include "config.h"

#include <string.h>

#include "base/tests/fuzz.h"
#include "model/keep.h"
#include "model/model.h"
#include "model/recipe.h"

/* What is checked of every text, with all three tables. */
static void
fuzz_one(const guint8 *data, gsize size)
{
    /* ended by a zero byte as all that lodge_file_read() brings, with others before it or not */
    g_autofree char *text = g_malloc(size + 1);
    memcpy(text, data, size);
    text[size] = '\0';
    g_autoptr(LodgeGuest) guest = lodge_guest_parse("fuzz", text, size, NULL);
    g_autoptr(LodgeNetwork) network = lodge_network_parse("fuzz", text, size, NULL);
    g_autoptr(LodgeImage) image = lodge_image_parse("fuzz", text, size, NULL);
    if (network != NULL) {
        g_autofree char *again = lodge_network_format(network);
        g_autoptr(LodgeNetwork) second = lodge_network_parse("fuzz", again, strlen(again), NULL);
        g_assert_nonnull(second);
    }
    if (image != NULL) {
        g_autofree char *again = lodge_image_format(image);
        g_autoptr(LodgeImage) second = lodge_image_parse("fuzz", again, strlen(again), NULL);
        g_assert_nonnull(second);
    }
    g_autoptr(LodgeRecipe) recipe = lodge_recipe_parse("fuzz", text, size, NULL);
    LodgeKeep keep;
    lodge_keep_parse(text, &keep, NULL);
    g_autoptr(LodgePoint) point = lodge_point_parse("20261121-154423", text, size, NULL);
    if (point != NULL) {
        g_autofree char *again = lodge_point_format(point);
        g_autoptr(LodgePoint)
            second = lodge_point_parse("20261121-154423", again, strlen(again), NULL);
        g_assert_nonnull(second);
    }
    lodge_point_time(text);
    LodgeUsbSpec spec;
    lodge_usb_spec_parse(text, &spec, NULL);
    g_autoptr(GPtrArray) forwards = lodge_forwards_parse(text, NULL);
}
