#include "config.h"

#include <string.h>

#include "base/base.h"
#include "ops/host-key.h"

/* Made for this test, and used nowhere. */
static const char openssh[] =
    "-----BEGIN OPENSSH PRIVATE KEY-----\n"
    "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW\n"
    "QyNTUxOQAAACBDZn4ffwNBrT3A5XOULT5mgOg1CVto/70noOR6t/ftSQAAAIhIaPyWSGj8\n"
    "lgAAAAtzc2gtZWQyNTUxOQAAACBDZn4ffwNBrT3A5XOULT5mgOg1CVto/70noOR6t/ftSQ\n"
    "AAAECxdLGUgsTvHasF/B0da4pTiUik/CilshA/NYs0yVqdj0Nmfh9/A0GtPcDlc5QtPmaA\n"
    "6DUJW2j/vSeg5Hq39+1JAAAAAAECAwQF\n"
    "-----END OPENSSH PRIVATE KEY-----\n";

static void
test_dropbear(void)
{
    g_autoptr(GError) error = NULL;
    gsize length = 0;
    g_autofree char *key = host_key_for_dropbear(openssh, &length, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(length, ==, 4 + 11 + 4 + 64);
    g_assert_cmpmem(key, 19, "\0\0\0\013ssh-ed25519\0\0\0\100", 19);
    /* Its second half is the public key, which ssh-keygen prints so: */
    g_autofree char *public = g_base64_encode((const guchar *)key + length - 32, 32);
    g_assert_cmpstr(public, ==, "Q2Z+H38DQa09wOVzlC0+ZoDoNQlbaP+9J6Dkerf37Uk=");
}

/* Whatever is cut off: an error, or a key, and nothing read beyond. */
static void
test_damaged(void)
{
    for (gsize cut = 0; cut < strlen(openssh); cut += 7) {
        gsize length = 0;
        g_autoptr(GError) error = NULL;
        g_autofree char *text = g_strndup(openssh, cut);
        g_autofree char *key = host_key_for_dropbear(text, &length, &error);
        g_assert_true((key == NULL) == (error != NULL));
    }
    gsize length = 0;
    g_autoptr(GError) error = NULL;
    g_assert_null(host_key_for_dropbear("ssh-rsa AAAA", &length, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INVALID);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ops/host-key/dropbear", test_dropbear);
    g_test_add_func("/ops/host-key/damaged", test_damaged);
    return g_test_run();
}
