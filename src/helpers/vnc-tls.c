/* lodge-vnc-tls CERTIFICATE KEY: a VNC viewer on descriptor 0, who speaks TLS, and QEMU on
 * descriptor 3, who does not.
 *
 * Theory of operation: QEMU's own TLS takes its certificates only when it starts, so TLS ends here.
 * The viewer is offered VeNCrypt with X509Vnc and nothing else: TLS by our certificate, inside of
 * it VNC's password. To QEMU we are a viewer who takes the password scheme; its challenge, and all
 * that follows, goes through as it is. So QEMU checks the password, and we never see it.
 *
 * One process for each viewer: it ends when either side does. */
#include "config.h"

#include <gio/gio.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum {
    VIEWER_FD = 0,
    QEMU_FD = 3,
    NOBODY = 65534,
    GREETING_S = 60, /* a person may be asked whether the certificate is trusted */
    VERSION_BYTES = 12,
    SECURITY_VNC = 2,
    SECURITY_VENCRYPT = 19,
    BUFFER_BYTES = 64 << 10,
};

#define VERSION "RFB 003.008\n"

typedef struct {
    GSocket *socket;
    GIOStream *stream;
} Side;

static gboolean
fail(GError **error, const char *what)
{
    g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, what);
    return FALSE;
}

static gboolean
take(GIOStream *stream, void *bytes, gsize length, GError **error)
{
    gsize got = 0;
    return g_input_stream_read_all(g_io_stream_get_input_stream(stream), bytes, length, &got, NULL,
                                   error) &&
           (got == length || fail(error, "it hung up"));
}

static gboolean
say(GIOStream *stream, const void *bytes, gsize length, GError **error)
{
    return g_output_stream_write_all(g_io_stream_get_output_stream(stream), bytes, length, NULL,
                                     NULL, error);
}

static gboolean
open_side(Side *side, int fd, GError **error)
{
    side->socket = g_socket_new_from_fd(fd, error);
    if (side->socket == NULL) {
        return FALSE;
    }
    g_socket_set_timeout(side->socket, GREETING_S);
    side->stream = G_IO_STREAM(g_socket_connection_factory_create_connection(side->socket));
    return TRUE;
}

/* Up to where TLS begins. */
static gboolean
greet_viewer(GIOStream *viewer, GError **error)
{
    static const guint8 types[] = {1, SECURITY_VENCRYPT};
    static const guint8 version[] = {0, 2}, fine[] = {0}, accepted[] = {1};
    static const guint8 subtypes[] = {1, 0, 0, 1, 5}; /* one: 261, X509Vnc */
    char said[VERSION_BYTES];
    guint8 type, its_version[2], subtype[4];
    if (!say(viewer, VERSION, VERSION_BYTES, error) || !take(viewer, said, sizeof said, error)) {
        return FALSE;
    }
    if (memcmp(said, "RFB 003.00", 10) != 0 || said[10] < '7') {
        return fail(error, "the viewer is too old for TLS");
    }
    if (!say(viewer, types, sizeof types, error) || !take(viewer, &type, 1, error) ||
        (type != SECURITY_VENCRYPT && !fail(error, "the viewer wants no TLS")) ||
        !say(viewer, version, sizeof version, error) ||
        !take(viewer, its_version, sizeof its_version, error)) {
        return FALSE;
    }
    if (memcmp(its_version, version, sizeof version) != 0) {
        return fail(error, "the viewer speaks another version of VeNCrypt");
    }
    if (!say(viewer, fine, sizeof fine, error) || !say(viewer, subtypes, sizeof subtypes, error) ||
        !take(viewer, subtype, sizeof subtype, error)) {
        return FALSE;
    }
    return memcmp(subtype, subtypes + 1, sizeof subtype) == 0
               ? say(viewer, accepted, sizeof accepted, error)
               : fail(error, "the viewer knows no certificates (X509Vnc)");
}

/* QEMU offers a list; then it is at its challenge. */
static gboolean
greet_qemu(GIOStream *qemu, GError **error)
{
    char version[VERSION_BYTES];
    guint8 types[256], wanted = SECURITY_VNC;
    return take(qemu, version, sizeof version, error) && say(qemu, VERSION, VERSION_BYTES, error) &&
           take(qemu, types, 1, error) && take(qemu, types + 1, types[0], error) &&
           (memchr(types + 1, SECURITY_VNC, types[0]) != NULL ||
            fail(error, "QEMU asks for no password")) &&
           say(qemu, &wanted, 1, error);
}

static GIOStream *
begin_tls(GIOStream *viewer, GTlsCertificate *certificate, GError **error)
{
    g_autoptr(GIOStream) tls = g_tls_server_connection_new(viewer, certificate, error);
    return tls != NULL && g_tls_connection_handshake(G_TLS_CONNECTION(tls), NULL, error)
               ? g_steal_pointer(&tls)
               : NULL;
}

typedef struct {
    GInputStream *from;
    GOutputStream *to;
    GSocket *sockets[2];
} Pump;

/* Until either end closes; then both sockets are closed, which wakes the other direction. */
static gpointer
pump(gpointer data)
{
    const Pump *way = data;
    g_autofree char *buffer = g_malloc(BUFFER_BYTES);
    gssize got;
    while ((got = g_input_stream_read(way->from, buffer, BUFFER_BYTES, NULL, NULL)) > 0 &&
           g_output_stream_write_all(way->to, buffer, (gsize)got, NULL, NULL, NULL)) {
    }
    for (gsize i = 0; i < G_N_ELEMENTS(way->sockets); i++) {
        g_socket_shutdown(way->sockets[i], TRUE, TRUE, NULL);
    }
    return NULL;
}

/* Who we listen to may be anybody: from here on we own nothing. */
static gboolean
drop_privileges(GError **error)
{
    return geteuid() != 0 ||
           (setgroups(0, NULL) == 0 && setresgid(NOBODY, NOBODY, NOBODY) == 0 &&
            setresuid(NOBODY, NOBODY, NOBODY) == 0 &&
            prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0) ||
           fail(error, "privileges can't be dropped");
}

static gboolean
serve(GTlsCertificate *certificate, GError **error)
{
    Side viewer = {0}, qemu = {0};
    if (!drop_privileges(error) || !open_side(&viewer, VIEWER_FD, error) ||
        !open_side(&qemu, QEMU_FD, error) || !greet_viewer(viewer.stream, error)) {
        return FALSE;
    }
    GIOStream *tls = begin_tls(viewer.stream, certificate, error);
    if (tls == NULL || !greet_qemu(qemu.stream, error)) {
        return FALSE;
    }
    g_socket_set_timeout(viewer.socket, 0);
    g_socket_set_timeout(qemu.socket, 0);
    Pump up = {g_io_stream_get_input_stream(tls),
               g_io_stream_get_output_stream(qemu.stream),
               {viewer.socket, qemu.socket}};
    Pump down = {g_io_stream_get_input_stream(qemu.stream),
                 g_io_stream_get_output_stream(tls),
                 {viewer.socket, qemu.socket}};
    GThread *thread = g_thread_new("up", pump, &up);
    pump(&down);
    g_thread_join(thread);
    return TRUE;
}

int
main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    if (argc != 3) {
        fputs("Usage: lodge-vnc-tls CERTIFICATE KEY (a viewer on descriptor 0, QEMU on 3)\n",
              stderr);
        return 2;
    }
    g_autoptr(GTlsCertificate)
        certificate = g_tls_certificate_new_from_files(argv[1], argv[2], &error);
    if (certificate == NULL || !serve(certificate, &error)) {
        fprintf(stderr, "lodge-vnc-tls: %s\n", error->message);
        return 1;
    }
    return 0;
}
