#include "config.h"

#include <glib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/passt.h"

static void
test_date(void)
{
    g_assert_cmpuint(lodge_passt_date("passt 2025_05_03.587980c\nCopyright 20300101"), ==,
                     20250503);
    g_assert_cmpuint(lodge_passt_date("passt 0.0~git20250503.587980c-2+deb13u1\n"), ==, 20250503);
    g_assert_cmpuint(lodge_passt_date("passt 0^20260120.g386b5f5-1.fc43.x86_64"), ==, 20260120);
    g_assert_cmpuint(lodge_passt_date("passt 0.0~git20250503.587980c-2"), <, LODGE_PASST_LEAST);
    static const char *const none[] = {"passt unknown version: /usr/bin/passt.avx2 (1)\n20260101",
                                       "",
                                       "passt 202505031",
                                       "passt 2025_05",
                                       "passt 99999999",
                                       "passt 12025_05_03"};
    for (gsize i = 0; i < G_N_ELEMENTS(none); i++) {
        g_assert_cmpuint(lodge_passt_date(none[i]), ==, 0);
    }
}

static void
test_of(void)
{
    g_assert_cmpuint(lodge_passt_date_of("/nonexistent/passt"), ==, 0);
    g_assert_cmpuint(lodge_passt_date_of("/bin/false"), ==, 0);
    g_autofree char *path = g_build_filename(g_get_tmp_dir(), "lodge-test-passt-XXXXXX", NULL);
    int fd = g_mkstemp(path);
    static const char script[] =
        "#!/bin/sh\n[ -t 1 ] && echo No 20990101 >&2 && echo passt 2025_06_11.0293c6f\n";
    g_assert_cmpint(write(fd, script, sizeof script - 1), ==, sizeof script - 1);
    g_assert_cmpint(fchmod(fd, 0700), ==, 0);
    close(fd);
    g_assert_cmpuint(lodge_passt_date_of(path), ==, 20250611);
    unlink(path);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/host/passt/date", test_date);
    g_test_add_func("/host/passt/of", test_of);
    return g_test_run();
}
