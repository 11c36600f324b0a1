#include "config.h"

#include "net/sharing.h"

static gboolean
is_put_on(const LodgeNetwork *network, const LodgeNetwork *maker)
{
    return !lodge_network_makes_bridge(network) && lodge_network_makes_bridge(maker) &&
           g_strcmp0(network->bridge, maker->bridge) == 0 && network->bridge != NULL;
}

char *
lodge_net_bridge_maker(const LodgeStore *store, const LodgeNetwork *network)
{
    g_auto(GStrv) names = lodge_store_networks(store, NULL);
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        g_autoptr(LodgeNetwork) other = lodge_store_network(store, names[i], NULL);
        if (other != NULL && is_put_on(network, other)) {
            return g_strdup(names[i]);
        }
    }
    return NULL;
}

char **
lodge_net_sharers(const LodgeStore *store, const LodgeNetwork *network, gboolean running)
{
    g_autoptr(GStrvBuilder) sharers = g_strv_builder_new();
    g_auto(GStrv) names = lodge_store_networks(store, NULL);
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        g_autoptr(LodgeNetwork) other = running ? lodge_net_running(store, names[i])
                                                : lodge_store_network(store, names[i], NULL);
        if (other != NULL && is_put_on(other, network)) {
            g_strv_builder_add(sharers, names[i]);
        }
    }
    return g_strv_builder_end(sharers);
}
