#include "config.h"

#include "base/base.h"
#include "model/model.h"

static void
test_forms(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) all = lodge_forwards_parse(
        "8080:80, 0.0.0.0:2222:22 5353:53/udp;[::1]:443:8443 80", &error);
    g_assert_no_error(error);
    g_assert_cmpuint(all->len, ==, 5);
    const LodgeForward *first = all->pdata[0];
    g_assert_cmpstr(first->address, ==, "127.0.0.1");
    g_assert_cmpuint(first->host_port, ==, 8080);
    g_assert_cmpuint(first->guest_port, ==, 80);
    const LodgeForward *udp = all->pdata[2];
    g_assert_true(udp->udp);
    const LodgeForward *six = all->pdata[3];
    g_assert_cmpstr(six->address, ==, "::1");
    const LodgeForward *bare = all->pdata[4];
    g_assert_cmpuint(bare->guest_port, ==, 80);
}

static void
test_refused(void)
{
    static const char *const bad[] = {
        "0:80",       "70000:80", "a:b", "1:2:3:4",     "80:80/x", "host:80:80",
        "[::1:80:80", "80:",      ":80", "80:80 80:81", "-1:80",   "80,guestfwd=x:1"};
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(lodge_forwards_parse(bad[i], &error));
        g_assert_error(error, LODGE_ERROR, LODGE_ERROR_USAGE);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/model/forward/forms", test_forms);
    g_test_add_func("/model/forward/refused", test_refused);
    return g_test_run();
}
