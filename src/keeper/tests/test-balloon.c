#include "config.h"

#include "keeper/balloon.h"

#define MIB (G_GUINT64_CONSTANT(1) << 20)

/* A guest of 1024 MiB that must keep 256; all in MiB. */
static void
test_target(void)
{
    static const struct {
        guint64 host_available; /* of 1000 */
        double pressure;
        guint64 now;
        gint64 guest_available;
        guint64 target;
    } cases[] = {
        {500, 0, 1024, 800, 1024},                            /* all is well */
        {50, 0, 1024, 800, 896},                              /* an eighth is taken */
        {50, 0, 1024, 100, 988},                              /* only what it can spare: 100 - 64 */
        {50, 0, 1024, 30, 1024},                              /* it has nothing to spare */
        {50, 0, 1024, -1, 1024},                              /* nothing is known of it */
        {50, 0, 300, 250, 256},                               /* not below the least */
        {50, 0, 256, 250, 256},    {500, 20, 1024, 800, 896}, /* tasks wait for memory */
        {150, 0, 512, 200, 512},                              /* neither short nor rich: as it is */
        {150, 0, 512, 30, 640},                               /* but it is short itself */
        {50, 0, 512, 30, 512},                                /* the host is short too */
        {500, 0, 512, 200, 640},                              /* an eighth is given back */
        {500, 0, 1000, 200, 1024},                            /* up to what is its own */
        {500, 0, 2048, 200, 2048},                            /* plugged in by hand */
        {500, 5, 512, 200, 512},                              /* some pressure: not yet */
        {500, -1, 512, 200, 640}, /* a kernel without figures of pressure */
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        BalloonSight sight = {
            .host = {1000 * MIB, cases[i].host_available * MIB, cases[i].pressure},
            .most_bytes = 1024 * MIB,
            .least_bytes = 256 * MIB,
            .now_bytes = cases[i].now * MIB,
            .available_bytes = cases[i].guest_available < 0
                                   ? -1
                                   : cases[i].guest_available * (gint64)MIB,
        };
        g_assert_cmpuint(balloon_target(&sight) / MIB, ==, cases[i].target);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/keeper/balloon/target", test_target);
    return g_test_run();
}
