#include "config.h"

#include "keeper/balloon.h"

#define PRESSURE_HIGH 10.0
#define PRESSURE_LOW 1.0
#define GRAIN_BYTES (G_GUINT64_CONSTANT(1) << 20)

guint64
balloon_target(const BalloonSight *sight)
{
    const LodgeMemory *host = &sight->host;
    guint64 step = sight->most_bytes / 8;
    guint64 reserve = sight->most_bytes / 16;
    guint64 now = sight->now_bytes;
    if (host->total_bytes == 0 || now == 0) {
        return now;
    }
    gboolean host_short = host->available_bytes < host->total_bytes / 10 ||
                          host->pressure > PRESSURE_HIGH;
    gboolean host_rich = host->available_bytes > host->total_bytes / 5 &&
                         host->pressure < PRESSURE_LOW;
    gboolean guest_short = sight->available_bytes >= 0 && (guint64)sight->available_bytes < reserve;
    if (host_short) {
        /* A guest whose needs are not known is left alone: it might be killing its processes. */
        guint64 spare = sight->available_bytes > (gint64)reserve
                            ? (guint64)sight->available_bytes - reserve
                            : 0;
        guint64 room = now > sight->least_bytes ? now - sight->least_bytes : 0;
        guint64 taken = MIN(MIN(step, spare), room) / GRAIN_BYTES * GRAIN_BYTES;
        return now - taken;
    }
    if (host_rich || guest_short) {
        return now < sight->most_bytes ? MIN(now + step, sight->most_bytes) : now;
    }
    return now;
}
