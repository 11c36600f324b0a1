/* Ethernet frames for tests, written to and read from taps. */
#pragma once

#include <glib.h>

typedef struct {
    guint8 bytes[1600];
    gsize length;
} Frame;

/* Each begins with the Ethernet header; MACs are "52:54:…". */
Frame frame_ethernet(const char *to, const char *from, guint16 type);
Frame frame_arp(const char *from, guint16 operation, const char *sender_mac, const char *sender_ip,
                const char *target_ip);
Frame frame_udp4(const char *to, const char *from, const char *source, const char *target,
                 guint16 source_port, guint16 target_port);
/* @next is the protocol of what frame_append() puts behind. */
Frame frame_ip6(const char *to, const char *from, const char *source, const char *target,
                guint8 next, guint8 hop_limit);
void frame_append(Frame *frame, const void *bytes, gsize length);
void frame_append_hex(Frame *frame, const char *hex);
void frame_append_address6(Frame *frame, const char *address);
/* Set the lengths and the checksum of IPv4 and UDP headers to what stands behind them. */
void frame_finish_udp4(Frame *frame);
/* Set the IPv6 header's length to what stands behind it. */
void frame_finish6(Frame *frame);

void frame_send(int tap, const Frame *frame);
/* The next frame that comes within @timeout_ms. */
gboolean frame_receive(int tap, gint64 timeout_ms, Frame *out_frame);
