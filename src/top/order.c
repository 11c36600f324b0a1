/* Orders of guests, and lines of blocks. */
#include "config.h"

#include <string.h>

#include "base/base.h"
#include "top/sample.h"

static double
disk(const TopGuest *guest)
{
    return MAX(guest->read_rate, 0) + MAX(guest->write_rate, 0);
}

static double
net(const TopGuest *guest)
{
    return MAX(guest->receive_rate, 0) + MAX(guest->send_rate, 0);
}

static double
cpu(const TopGuest *guest)
{
    return guest->cpu_percent;
}

static double
memory(const TopGuest *guest)
{
    return (double)guest->rss_bytes;
}

static double
uptime(const TopGuest *guest)
{
    return guest->state->started_ms > 0 ? -(double)guest->state->started_ms : -1e18;
}

static double
state(const TopGuest *guest)
{
    return guest->state->has_qemu ? 1 + guest->state->state : 0;
}

static const struct {
    const char *key;
    double (*value)(const TopGuest *guest); /* NULL: the name itself */
} orders[] = {{"cpu", cpu},       {"memory", memory}, {"disk", disk}, {"net", net},
              {"uptime", uptime}, {"state", state},   {"name", NULL}};

typedef struct {
    double (*value)(const TopGuest *guest);
    int sign;
} Order;

static int
compare(gconstpointer a, gconstpointer b, gpointer data)
{
    const Order *order = data;
    const TopGuest *left = *(TopGuest *const *)a;
    const TopGuest *right = *(TopGuest *const *)b;
    double difference = order->value != NULL ? order->value(right) - order->value(left) : 0;
    int sign = difference > 0 ? 1 : difference < 0 ? -1 : strcmp(left->name, right->name);
    return sign * order->sign;
}

gboolean
top_sort(GPtrArray *guests, const char *key, gboolean reverse)
{
    for (gsize i = 0; i < G_N_ELEMENTS(orders); i++) {
        if (g_str_equal(orders[i].key, key)) {
            Order order = {orders[i].value, reverse ? -1 : 1};
            g_ptr_array_sort_with_data(guests, compare, &order);
            return TRUE;
        }
    }
    return FALSE;
}

char *
top_sparkline(const double *values, gsize count, gsize width, double most)
{
    static const char *const blocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    GString *text = g_string_new(NULL);
    for (gsize i = 0; i < width; i++) {
        gsize behind = width - i; /* from the newest */
        if (behind > count) {
            g_string_append_c(text, ' ');
            continue;
        }
        double share = most > 0 ? values[count - behind] / most : 0;
        g_string_append(text, blocks[CLAMP((int)(share * 8), 0, 7)]);
    }
    return g_string_free(text, FALSE);
}
