/* Guests get the addresses that are theirs, however many ask at once; and what attaching costs. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "net/net.h"
#include "net/tests/frames.h"
#include "net/tests/pair.h"

enum {
    DHCP_DISCOVER = 1,
    DHCP_OFFER,
    DHCP_REQUEST,
    DHCP_ACK = 5,
    DHCP_MAGIC_AT = 14 + 20 + 8 + 236
};

/* A client's message; @options follow the type's, in hex. */
static Frame
dhcp_message(const char *mac, guint type, const char *options)
{
    Frame frame = frame_udp4(MAC_ALL, mac, "0.0.0.0", "255.255.255.255", 68, 67);
    frame.length -= 4;
    frame_append_hex(&frame, "01 01 06 00 12345678 0000 0000 00000000 00000000 00000000 00000000");
    for (gsize i = 0; i < 6; i++) {
        frame.bytes[frame.length++] = (guint8)g_ascii_strtoull(mac + 3 * i, NULL, 16);
    }
    static const guint8 empty[10 + 64 + 128];
    g_autofree char *rest = g_strdup_printf("63825363 3501%02x %s 370103 ff", type, options);
    frame_append(&frame, empty, sizeof empty);
    frame_append_hex(&frame, rest);
    frame_finish_udp4(&frame);
    return frame;
}

/* Wait for the server's message of that type, and return the address in it; NULL: it is late. */
static char *
dhcp_answer_within(int tap, guint type, int timeout_ms)
{
    Frame got;
    while (frame_receive(tap, timeout_ms, &got)) {
        if (got.length > DHCP_MAGIC_AT + 6 && got.bytes[23] == 17 && got.bytes[36] == 0 &&
            got.bytes[37] == 68 && got.bytes[DHCP_MAGIC_AT + 4] == 53 &&
            got.bytes[DHCP_MAGIC_AT + 6] == type) {
            return g_strdup_printf("%u.%u.%u.%u", got.bytes[58], got.bytes[59], got.bytes[60],
                                   got.bytes[61]);
        }
    }
    return NULL;
}

static char *
dhcp_answer(int tap, guint type)
{
    return dhcp_answer_within(tap, type, 20000);
}

/* Ask, and ask again, as clients do: a server that many ask at once may lose a message. */
static char *
dhcp_ask(int tap, const Frame *question, guint type)
{
    char *answer = NULL;
    for (int attempt = 0; answer == NULL && attempt < 10; attempt++) {
        frame_send(tap, question);
        answer = dhcp_answer_within(tap, type, 4000);
    }
    g_assert_nonnull(answer);
    return answer;
}

/* DHCP: the reserved address, at once. */
static double
discover(int tap, const char *mac, const char *address)
{
    Frame frame = dhcp_message(mac, DHCP_DISCOVER, "");
    gint64 began = g_get_monotonic_time();
    frame_send(tap, &frame);
    g_autofree char *offered = dhcp_answer(tap, DHCP_OFFER);
    g_assert_cmpstr(offered, ==, address);
    return (double)(g_get_monotonic_time() - began) / 1000;
}

static void
test_dhcp(TestPair *pair, gconstpointer data)
{
    (void)data;
    if (!netns_is_root()) {
        g_test_skip("dnsmasq needs root");
        return;
    }
    g_autoptr(GError) error = NULL;
    lodge_net_serve(pair->host.store, pair->network, &error);
    g_assert_no_error(error);
    double first_ms = discover(pair->taps[0], MAC_A, pair->ports[0].address4);
    g_test_message("DHCP offer: %.1f ms", first_ms);
    g_assert_cmpfloat(first_ms, <, 300);
    /* Known since dnsmasq has been running: read without a restart. */
    LodgePort late = {.guest = (char *)"b", .nic = (char *)"other", .mac = (char *)MAC_B};
    g_auto(LodgeNetworkLease) lease = {NULL, NULL};
    g_assert_true(lodge_net_reserve(pair->host.store, pair->network, &late, &lease, &error));
    g_assert_cmpstr(lease.address4, !=, pair->ports[1].address4);
    g_free(netns_run(NULL, "dig +short +timeout=2 @10.77.0.1 a.lodge | grep -x %s",
                     pair->ports[0].address4));
    g_free(netns_run(NULL, "dig +short +timeout=2 @10.77.0.1 a.lodge AAAA | grep -x %s",
                     pair->ports[0].address6));
}

static void
request(int tap, const char *mac, const char *address)
{
    guint parts[4] = {0};
    g_assert_cmpint(sscanf(address, "%u.%u.%u.%u", &parts[0], &parts[1], &parts[2], &parts[3]), ==,
                    4);
    g_autofree char *options = g_strdup_printf("3204 %02x%02x%02x%02x 3604 0a4d0001", parts[0],
                                               parts[1], parts[2], parts[3]);
    Frame question = dhcp_message(mac, DHCP_REQUEST, options);
    g_autofree char *got = dhcp_ask(tap, &question, DHCP_ACK);
    g_assert_cmpstr(got, ==, address);
}

/* A guest that is deleted leaves a lease of hours; one of the same name gets its address at once.
 */
static void
test_dhcp_again(TestPair *pair, gconstpointer data)
{
    (void)data;
    if (!netns_is_root()) {
        g_test_skip("dnsmasq needs root");
        return;
    }
    g_autoptr(GError) error = NULL;
    LodgePort *port = &pair->ports[0];
    lodge_net_serve(pair->host.store, pair->network, &error);
    g_assert_no_error(error);
    g_autofree char *address = g_strdup(port->address4);
    discover(pair->taps[0], MAC_A, address);
    request(pair->taps[0], MAC_A, address);
    close(pair->taps[0]);
    lodge_net_detach(pair->host.net, "lan", port->link, &error);
    g_assert_no_error(error);
    lodge_net_release(pair->host.store, port->guest);
    lodge_network_lease_clear(&pair->leases[0]);

    port->mac = (char *)"52:54:00:00:00:a2";
    lodge_net_reserve(pair->host.store, pair->network, port, &pair->leases[0], &error);
    g_assert_no_error(error);
    g_assert_cmpstr(pair->leases[0].address4, ==, address);
    port->address4 = pair->leases[0].address4;
    port->address6 = pair->leases[0].address6;
    pair->taps[0] = lodge_net_attach(pair->host.net, pair->network, port, &error);
    g_assert_no_error(error);
    Frame question = dhcp_message(port->mac, DHCP_DISCOVER, "");
    g_autofree char *offered = dhcp_ask(pair->taps[0], &question, DHCP_OFFER);
    g_assert_cmpstr(offered, ==, address);
    request(pair->taps[0], port->mac, address);
}

enum { MANY = 200 };

typedef struct {
    char *mac;
    LodgePort port;
    LodgeNetworkLease lease;
    int tap;
} Client;

static void
client_begin(TestPair *pair, Client *client, guint number)
{
    g_autoptr(GError) error = NULL;
    client->mac = g_strdup_printf("52:54:00:03:00:%02x", number);
    client->port = (LodgePort){.guest = g_strdup_printf("c%u", number),
                               .nic = (char *)"lan",
                               .mac = client->mac,
                               .filter = TRUE};
    client->port.link = lodge_port_link(pair->host.store->root, client->port.guest, "lan");
    lodge_net_reserve(pair->host.store, pair->network, &client->port, &client->lease, &error);
    g_assert_no_error(error);
    client->port.address4 = client->lease.address4;
    client->port.address6 = client->lease.address6;
    client->tap = lodge_net_attach(pair->host.net, pair->network, &client->port, &error);
    g_assert_no_error(error);
}

/* What the network has of it goes when the network stops. */
static void
client_end(Client *client)
{
    close(client->tap);
    lodge_network_lease_clear(&client->lease);
    g_free(client->port.guest);
    g_free(client->port.link);
    g_free(client->mac);
}

/* Two hundred guests ask at once: each is given its own address, and gets it. */
static void
test_dhcp_many(TestPair *pair, gconstpointer data)
{
    (void)data;
    if (!netns_is_root()) {
        g_test_skip("dnsmasq needs root");
        return;
    }
    g_autoptr(GError) error = NULL;
    g_autofree Client *clients = g_new0(Client, MANY);
    g_autofree Frame *requests = g_new0(Frame, MANY);
    g_autoptr(GHashTable) given = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    lodge_net_serve(pair->host.store, pair->network, &error);
    g_assert_no_error(error);
    for (guint i = 0; i < MANY; i++) {
        client_begin(pair, &clients[i], i);
    }
    gint64 began = g_get_monotonic_time();
    for (guint i = 0; i < MANY; i++) {
        Frame frame = dhcp_message(clients[i].mac, DHCP_DISCOVER, "");
        frame_send(clients[i].tap, &frame);
    }
    for (guint i = 0; i < MANY; i++) {
        Frame again = dhcp_message(clients[i].mac, DHCP_DISCOVER, "");
        g_autofree char *offered = dhcp_answer_within(clients[i].tap, DHCP_OFFER, 4000);
        offered = offered != NULL ? offered : dhcp_ask(clients[i].tap, &again, DHCP_OFFER);
        g_assert_cmpstr(offered, ==, clients[i].lease.address4);
        LodgePrefix address;
        g_assert_true(lodge_address_parse(offered, &address, NULL));
        g_autofree char *options = g_strdup_printf("3204%02x%02x%02x%02x 36040a4d0001",
                                                   address.bytes[0], address.bytes[1],
                                                   address.bytes[2], address.bytes[3]);
        requests[i] = dhcp_message(clients[i].mac, DHCP_REQUEST, options);
        frame_send(clients[i].tap, &requests[i]);
    }
    for (guint i = 0; i < MANY; i++) {
        char *got = dhcp_answer_within(clients[i].tap, DHCP_ACK, 4000);
        got = got != NULL ? got : dhcp_ask(clients[i].tap, &requests[i], DHCP_ACK);
        g_assert_true(g_hash_table_add(given, got));
    }
    g_test_message("%u guests have their addresses after %.0f ms", MANY,
                   (double)(g_get_monotonic_time() - began) / 1000);
    g_assert_false(g_hash_table_contains(given, ""));
    g_assert_cmpuint(g_hash_table_size(given), ==, MANY);
    for (guint i = 0; i < MANY; i++) {
        client_end(&clients[i]);
    }
}

/* Two hundred guests made at once get two hundred addresses. */
static void
test_reserve_many(TestPair *pair, gconstpointer data)
{
    (void)data;
    enum { COUNT = 200, PROCESSES = 8 };
    for (guint p = 0; p < PROCESSES; p++) {
        if (fork() == 0) {
            for (guint i = p; i < COUNT; i += PROCESSES) {
                g_autofree char *guest = g_strdup_printf("many%u", i);
                g_autofree char *mac = g_strdup_printf("52:54:00:01:00:%02x", i);
                LodgePort port = {.guest = guest, .nic = (char *)"lan", .mac = mac};
                g_auto(LodgeNetworkLease) lease = {NULL, NULL};
                if (!lodge_net_reserve(pair->host.store, pair->network, &port, &lease, NULL)) {
                    _exit(1);
                }
            }
            _exit(0);
        }
    }
    for (guint p = 0; p < PROCESSES; p++) {
        int status = 0;
        wait(&status);
        g_assert_cmpint(status, ==, 0);
    }
    g_autofree char *count = netns_run(
        NULL, "cat $LODGE_DIR/run/networks/lan/hosts/* | cut -d, -f2 | sort -u | wc -l");
    g_assert_cmpstr(g_strchomp(count), ==, "202");
    lodge_net_release(pair->host.store, "many7");
    g_free(netns_run(NULL, "! ls $LODGE_DIR/run/networks/lan/hosts | grep 'many7\\.'"));
}

static int
compare_times(const void *a, const void *b)
{
    double difference = *(const double *)a - *(const double *)b;
    return difference < 0 ? -1 : difference > 0;
}

static double
median(double *times, gsize count)
{
    qsort(times, count, sizeof *times, compare_times);
    return times[count / 2];
}

/* Attach and detach many: in time, and the last no slower than the first. */
static void
test_attach_cost(TestPair *pair, gconstpointer data)
{
    (void)data;
    enum { COUNT = 200 };
    int taps[COUNT];
    double times[COUNT];
    g_autoptr(GPtrArray) links = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; i < COUNT; i++) {
        g_autofree char *guest = g_strdup_printf("g%u", i);
        g_autofree char *mac = g_strdup_printf("52:54:00:02:00:%02x", i);
        g_autofree char *address = g_strdup_printf("10.77.0.%u", i + 30);
        LodgePort port = {.guest = guest,
                          .nic = (char *)"lan",
                          .mac = mac,
                          .address4 = address,
                          .link = lodge_port_link(pair->host.store->root, guest, "lan"),
                          .filter = TRUE};
        g_ptr_array_add(links, port.link);
        g_autoptr(GError) error = NULL;
        gint64 began = g_get_monotonic_time();
        taps[i] = lodge_net_attach(pair->host.net, pair->network, &port, &error);
        times[i] = (double)(g_get_monotonic_time() - began) / 1000;
        g_assert_no_error(error);
    }
    double first = median(times, COUNT / 2);
    double last = median(times + COUNT / 2, COUNT / 2);
    g_test_message("attach, median: %.2f ms of the first hundred, %.2f ms of the second", first,
                   last);
    gint64 began = g_get_monotonic_time();
    for (guint i = 0; i < COUNT; i++) {
        close(taps[i]);
        g_assert_true(lodge_net_detach(pair->host.net, "lan", links->pdata[i], NULL));
    }
    g_test_message("detach: %.2f ms each", (double)(g_get_monotonic_time() - began) / 1000 / COUNT);
    g_assert_cmpfloat(last, <, 20);
}

int
main(int argc, char **argv)
{
    netns_begin(&argc, &argv);
#define ADD(name, function)                                                                        \
    g_test_add("/net/lease/" name, TestPair, TEST_HOST_NAT, test_pair_set_up, function,            \
               test_pair_tear_down)
    ADD("dhcp", test_dhcp);
    ADD("dhcp-again", test_dhcp_again);
    ADD("dhcp-many", test_dhcp_many);
    ADD("reserve-many", test_reserve_many);
    ADD("attach-cost", test_attach_cost);
    return g_test_run();
}
