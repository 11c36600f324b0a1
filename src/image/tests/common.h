/* What the image layer's tests share: a store of their own, and shorthands. */
#pragma once

#include "image/internal.h"

extern LodgeStore *test_store;

/* Listens to progress, and remembers the stages. */
typedef struct {
    LodgeProgress progress;
    GString *stages; /* each ended by a newline */
    double last;
} TestListener;

/* g_test_init and a store in a fresh temporary folder; test_finish() runs the tests. */
void test_begin(int *argc, char ***argv);
int test_finish(void);

/* Run a shell script in the store's root; it must succeed. */
void test_run(const char *script);

/* A path below the store's root. Free with g_free. */
char *test_path(const char *relative);
void test_write(const char *relative, const char *text, int mode);
gboolean test_exists(const char *relative);

/* Is there anything hidden in <root>/images? Stagings must vanish. */
gboolean test_has_litter(void);

/* A catalogue entry of the store's own, and a recipe that is a shell script. */
void test_entry(const char *name, const char *text);
void test_recipe(const char *name, const char *script);

/* A guest's folder with this definition. */
void test_guest(const char *name, const char *definition);

TestListener *test_listener(void);
void test_listener_free(TestListener *listener);

/* @error has this code and these words; cleared. */
void test_assert_error(GError **error, int code, const char *words);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(TestListener, test_listener_free)
