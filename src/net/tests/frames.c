#include "config.h"

#include "net/tests/frames.h"

#include <arpa/inet.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

enum { VNET_HEADER_BYTES = 10 };

static void
append_mac(Frame *frame, const char *mac)
{
    for (gsize i = 0; i < 6; i++) {
        frame->bytes[frame->length++] = (guint8)g_ascii_strtoull(mac + 3 * i, NULL, 16);
    }
}

static void
append_u16(Frame *frame, guint value)
{
    frame->bytes[frame->length++] = (guint8)(value >> 8);
    frame->bytes[frame->length++] = (guint8)value;
}

void
frame_append(Frame *frame, const void *bytes, gsize length)
{
    g_assert_cmpuint(frame->length + length, <=, sizeof frame->bytes);
    memcpy(frame->bytes + frame->length, bytes, length);
    frame->length += length;
}

void
frame_append_hex(Frame *frame, const char *hex)
{
    for (; *hex != '\0'; hex += *hex == ' ' ? 1 : 2) {
        if (*hex != ' ') {
            frame->bytes[frame->length++] = (guint8)(g_ascii_xdigit_value(hex[0]) << 4 |
                                                     g_ascii_xdigit_value(hex[1]));
        }
    }
}

static void
append_address4(Frame *frame, const char *address)
{
    struct in_addr value;
    g_assert_cmpint(inet_pton(AF_INET, address, &value), ==, 1);
    frame_append(frame, &value, sizeof value);
}

void
frame_append_address6(Frame *frame, const char *address)
{
    struct in6_addr value;
    g_assert_cmpint(inet_pton(AF_INET6, address, &value), ==, 1);
    frame_append(frame, &value, sizeof value);
}

Frame
frame_ethernet(const char *to, const char *from, guint16 type)
{
    Frame frame = {.length = 0};
    append_mac(&frame, to);
    append_mac(&frame, from);
    append_u16(&frame, type);
    return frame;
}

Frame
frame_arp(const char *from, guint16 operation, const char *sender_mac, const char *sender_ip,
          const char *target_ip)
{
    Frame frame = frame_ethernet("ff:ff:ff:ff:ff:ff", from, 0x0806);
    frame_append_hex(&frame, "0001 0800 06 04");
    append_u16(&frame, operation);
    append_mac(&frame, sender_mac);
    append_address4(&frame, sender_ip);
    frame_append_hex(&frame, "000000000000");
    append_address4(&frame, target_ip);
    return frame;
}

Frame
frame_udp4(const char *to, const char *from, const char *source, const char *target,
           guint16 source_port, guint16 target_port)
{
    Frame frame = frame_ethernet(to, from, 0x0800);
    frame_append_hex(&frame, "45 00 0020 0000 0000 40 11 0000");
    append_address4(&frame, source);
    append_address4(&frame, target);
    guint32 sum = 0;
    for (gsize i = 14; i < frame.length; i += 2) {
        sum += (guint32)(frame.bytes[i] << 8 | frame.bytes[i + 1]);
    }
    sum = (sum >> 16) + (sum & 0xffff);
    sum += sum >> 16;
    frame.bytes[24] = (guint8)(~sum >> 8);
    frame.bytes[25] = (guint8)~sum;
    append_u16(&frame, source_port);
    append_u16(&frame, target_port);
    frame_append_hex(&frame, "000c 0000 6c6f6467");
    return frame;
}

Frame
frame_ip6(const char *to, const char *from, const char *source, const char *target, guint8 next,
          guint8 hop_limit)
{
    Frame frame = frame_ethernet(to, from, 0x86dd);
    frame_append_hex(&frame, "60000000 0000");
    frame.bytes[frame.length++] = next;
    frame.bytes[frame.length++] = hop_limit;
    frame_append_address6(&frame, source);
    frame_append_address6(&frame, target);
    return frame;
}

void
frame_finish_udp4(Frame *frame)
{
    gsize udp = frame->length - 34;
    guint32 sum = 0;
    frame->bytes[16] = (guint8)((udp + 20) >> 8);
    frame->bytes[17] = (guint8)(udp + 20);
    frame->bytes[38] = (guint8)(udp >> 8);
    frame->bytes[39] = (guint8)udp;
    frame->bytes[24] = frame->bytes[25] = 0;
    for (gsize i = 14; i < 34; i += 2) {
        sum += (guint32)(frame->bytes[i] << 8 | frame->bytes[i + 1]);
    }
    sum = (sum >> 16) + (sum & 0xffff);
    frame->bytes[24] = (guint8)(~sum >> 8);
    frame->bytes[25] = (guint8)~sum;
}

void
frame_finish6(Frame *frame)
{
    gsize length = frame->length - 14 - 40;
    frame->bytes[18] = (guint8)(length >> 8);
    frame->bytes[19] = (guint8)length;
}

void
frame_send(int tap, const Frame *frame)
{
    guint8 bytes[sizeof frame->bytes + VNET_HEADER_BYTES] = {0};
    memcpy(bytes + VNET_HEADER_BYTES, frame->bytes, frame->length);
    g_assert_cmpint(write(tap, bytes, frame->length + VNET_HEADER_BYTES), ==,
                    (gssize)frame->length + VNET_HEADER_BYTES);
}

gboolean
frame_receive(int tap, gint64 timeout_ms, Frame *out_frame)
{
    guint8 bytes[sizeof out_frame->bytes + VNET_HEADER_BYTES];
    struct pollfd readable = {.fd = tap, .events = POLLIN};
    if (poll(&readable, 1, (int)timeout_ms) <= 0) {
        return FALSE;
    }
    gssize got = read(tap, bytes, sizeof bytes);
    if (got < VNET_HEADER_BYTES) {
        return FALSE;
    }
    out_frame->length = (gsize)got - VNET_HEADER_BYTES;
    memcpy(out_frame->bytes, bytes + VNET_HEADER_BYTES, out_frame->length);
    return TRUE;
}
