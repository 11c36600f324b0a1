/* What the fuzz targets of all layers share. A target defines fuzz_one() and includes this once.
 * With LODGE_FUZZ it is one for libFuzzer; else a test whose arguments are seeds, or folders of
 * them: each is tried whole, cut short at each place, and with a bit of it wrong. */
#pragma once

#include <string.h>

#include "base/base.h"

static void fuzz_one(const guint8 *data, gsize size);

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

int
LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    fuzz_one(data, size);
    return 0;
}

enum {
    FUZZ_SEED_LIMIT_BYTES = 64 << 10,
    FUZZ_SEED_WHOLE_BYTES = 4096, /* a longer seed is cut and changed in its first ones only */
};

#ifndef LODGE_FUZZ

static void
fuzz_seed(gconstpointer path)
{
    g_autoptr(GError) error = NULL;
    gsize size = 0;
    g_autofree char *bytes = lodge_file_read(path, FUZZ_SEED_LIMIT_BYTES, &size, &error);
    g_assert_no_error(error);
    fuzz_one((const guint8 *)bytes, size);
    for (gsize i = 0; i < MIN(size, FUZZ_SEED_WHOLE_BYTES); i++) {
        /* a copy of its own size, so that sanitizers see a read beyond it */
        g_autofree guint8 *cut = g_malloc(MAX(i, 1));
        memcpy(cut, bytes, i);
        fuzz_one(cut, i);
        bytes[i] ^= (char)(1 << i % 8);
        fuzz_one((const guint8 *)bytes, size);
        bytes[i] ^= (char)(1 << i % 8);
    }
}

static void
fuzz_add(const char *path)
{
    g_autofree char *name = g_path_get_basename(path);
    g_autofree char *test = g_strdup_printf("/fuzz/%s", name);
    g_test_add_data_func_full(test, g_strdup(path), fuzz_seed, g_free);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (int i = 1; i < argc; i++) {
        g_auto(GStrv) names = lodge_dir_names(argv[i], NULL);
        for (gsize k = 0; names != NULL && names[k] != NULL; k++) {
            g_autofree char *path = g_build_filename(argv[i], names[k], NULL);
            fuzz_add(path);
        }
        if (names == NULL) {
            fuzz_add(argv[i]);
        }
    }
    return argc > 1 ? g_test_run() : 1;
}

#endif
