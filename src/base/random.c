#include "config.h"

#include "base/random.h"

#include <errno.h>
#include <sys/random.h>

void
lodge_random(gpointer bytes, gsize length)
{
    guint8 *next = bytes;
    while (length > 0) {
        gssize got = getrandom(next, length, 0);
        if (got < 0 && errno != EINTR) {
            g_error("no random numbers: %s", g_strerror(errno)); /* no kernel of ours lacks them */
        }
        next += got > 0 ? got : 0;
        length -= got > 0 ? (gsize)got : 0;
    }
}

char *
lodge_uuid_random(void)
{
    guint8 b[16];
    lodge_random(b, sizeof b);
    b[6] = (guint8)((b[6] & 0x0f) | 0x40);
    b[8] = (guint8)((b[8] & 0x3f) | 0x80);
    return g_strdup_printf("%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                           b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11],
                           b[12], b[13], b[14], b[15]);
}
