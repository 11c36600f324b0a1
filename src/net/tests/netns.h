/* Network namespaces for tests: nothing they do reaches the machine's own network. */
#pragma once

#include <glib.h>
#include <sys/types.h>

/* g_test_init(), and the test program moves into a network namespace of its own, as the "host"; as
 * an ordinary user into a user namespace too. Where this machine forbids it, it says so and exits
 * with 77: skipped. */
void netns_begin(int *argc, char ***argv);

/* Are these tests run by the real root (who has other users to drop to)? */
gboolean netns_is_root(void);

/* Another namespace, held by a sleeping child that dies with us. */
typedef struct {
    pid_t pid;
} Netns;

Netns *netns_new(void);
void netns_free(Netns *netns);

/* Run a shell command in @netns (NULL: the host's) and return what it wrote; it must succeed. */
char *netns_run(const Netns *netns, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* The same, saying whether it succeeded. */
gboolean netns_try(const Netns *netns, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* All of links, addresses, routes, neighbours that are permanent, rules and sysctls, as text: for
 * comparing before and after. */
char *netns_dump(void);
/* Assert that it is as it was; the differences are printed. */
void netns_assert_unchanged(const char *before);

/* A folder for LODGE_DIR that everybody may read; set in the environment. Free with
 * netns_remove_store. */
char *netns_make_store(void);
void netns_remove_store(char *folder);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Netns, netns_free)
