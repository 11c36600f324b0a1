/* Forwarded ports of the user-mode network: "8080:80", "0.0.0.0:8080:80", "5353:53/udp". */
#pragma once

#include <glib.h>

typedef struct {
    char *address; /* the host's, to listen on: an IPv4 or IPv6 address; 127.0.0.1 unless said */
    gboolean address_given; /* else the address is only what user-mode networking listens on */
    guint host_port;
    guint guest_port;
    gboolean udp;
} LodgeForward;

/* Parse forwards divided by spaces, commas or semicolons. A bare "80" is "80:80". Returns an array
 * of LodgeForward * that frees them; NULL with a USAGE error that names the wrong one. A host port
 * that stands twice is an error. */
GPtrArray *lodge_forwards_parse(const char *text, GError **error);

/* One of them as it would be written. Free with g_free. */
char *lodge_forward_format(const LodgeForward *forward);
