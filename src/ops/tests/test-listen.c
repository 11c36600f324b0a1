#include "config.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/base.h"
#include "ops/listen.h"

static void
test_find_user(void)
{
    static const char table[] =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
        "   0: 0100007F:170C 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        "
        "0\n"
        "   1: 0100007F:170C 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        "
        "0\n"
        "   2: 0100007F:C350 0100007F:170C 01 00000000:00000000 00:00000000 00000000  1000        "
        "0\n";
    guint uid = 0;
    g_assert_true(lodge_peer_find_user(table, INADDR_LOOPBACK, 50000, INADDR_LOOPBACK, 5900, &uid));
    g_assert_cmpuint(uid, ==, 1000);
    g_assert_false(
        lodge_peer_find_user(table, INADDR_LOOPBACK, 50001, INADDR_LOOPBACK, 5900, &uid));
    g_assert_false(lodge_peer_find_user("", INADDR_LOOPBACK, 1, INADDR_LOOPBACK, 2, &uid));
    g_assert_false(lodge_peer_find_user(" 0100007F:0001 0100007F:0002 ", INADDR_LOOPBACK, 1,
                                        INADDR_LOOPBACK, 2, &uid));
}

/* What the kernel says of a real connection. */
static void
test_own_user(void)
{
    g_autoptr(GError) error = NULL;
    guint port = 0;
    lodge_autofd listener = lodge_listen_tcp("127.0.0.1:0", 0, 0, &port, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(port, >, 0);
    g_assert_true(lodge_listen_is_loopback(listener));
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((guint16)port),
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    lodge_autofd client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(connect(client, (struct sockaddr *)&address, sizeof address), ==, 0);
    lodge_autofd accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    g_assert_cmpint(accepted, >=, 0);
    g_assert_true(lodge_peer_is_own_user(accepted));
    g_assert_false(lodge_peer_is_own_user(listener));
}

static void
test_addresses(void)
{
    static const char *const bad[] = {"",          ":5900",     "localhost:0",     "127.0.0.1:",
                                      "127.0.0.1", "1.2.3.4:x", "127.0.0.1:65536", "[::1:0"};
    guint port = 0;
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_cmpint(lodge_listen_tcp(bad[i], 0, 0, &port, &error), ==, -1);
        g_assert_error(error, LODGE_ERROR, LODGE_ERROR_USAGE);
    }
    lodge_autofd any = lodge_listen_tcp("0.0.0.0:0", 0, 0, &port, NULL);
    g_assert_cmpint(any, >=, 0);
    g_assert_false(lodge_listen_is_loopback(any));
    g_autoptr(GError) error = NULL;
    g_autofree char *taken = g_strdup_printf("0.0.0.0:%u", port);
    g_assert_cmpint(lodge_listen_tcp(taken, 0, 0, &port, &error), ==, -1);
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_BUSY);
    /* Without a port: the first that is free. */
    guint first = port;
    lodge_autofd next = lodge_listen_tcp("0.0.0.0", first, first + 20, &port, NULL);
    g_assert_cmpint(next, >=, 0);
    g_assert_cmpuint(port, >, first);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ops/listen/find-user", test_find_user);
    g_test_add_func("/ops/listen/own-user", test_own_user);
    g_test_add_func("/ops/listen/addresses", test_addresses);
    return g_test_run();
}
