#include "config.h"

#include "ops/vnc-tls.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/base.h"
#include "ops/vnc.h"

enum {
    OPENSSL_TIMEOUT_MS = 30000,
    QEMU_FD = 3,
};

/* It stays when we go: whoever waits for the end of our output must not wait for it. */
#define FLAGS (G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDOUT_TO_DEV_NULL | G_SPAWN_STDERR_TO_DEV_NULL)
#define CERTIFICATE "server-cert.pem"
#define KEY "server-key.pem"

void
lodge_vnc_tls_clear(LodgeVncTls *tls)
{
    g_clear_pointer(&tls->certificate, g_free);
    g_clear_pointer(&tls->key, g_free);
}

/* An elliptic key is made at once, where one of RSA takes a second of a busy host. */
static gboolean
run_openssl(const char *folder, GError **error)
{
    const char *host = g_get_host_name();
    g_autofree char *subject = g_strdup_printf("/CN=%s", host);
    g_autofree char *names = g_strdup_printf("subjectAltName=DNS:%s", host);
    g_autofree char *certificate = g_build_filename(folder, CERTIFICATE, NULL);
    g_autofree char *key = g_build_filename(folder, KEY, NULL);
    const char *const argv[] = {
        "openssl", "req",   "-x509", "-newkey",   "ec",    "-pkeyopt", "ec_paramgen_curve:P-256",
        "-nodes",  "-days", "3650",  "-subj",     subject, "-addext",  names,
        "-keyout", key,     "-out",  certificate, NULL};
    return lodge_process_run_argv(argv, OPENSSL_TIMEOUT_MS, NULL, error);
}

/* Made beside its place, and there at one stroke: two who come at once have the same. */
static gboolean
make(const LodgeStore *store, const char *folder, GError **error)
{
    g_autofree char *fresh = g_build_filename(store->root, ".vnc-tls-XXXXXX", NULL);
    g_autoptr(GError) problem = NULL;
    if (g_mkdtemp(fresh) == NULL) {
        return lodge_error_errno(error, errno, "%s", fresh);
    }
    gboolean fine = run_openssl(fresh, &problem) &&
                    (rename(fresh, folder) == 0 || errno == EEXIST || errno == ENOTEMPTY ||
                     lodge_error_errno(&problem, errno, "%s", folder));
    lodge_tree_remove(fresh, NULL);
    if (!fine) {
        g_propagate_prefixed_error(error, g_steal_pointer(&problem), "Making a certificate: ");
    }
    return fine;
}

gboolean
lodge_vnc_tls_find(const LodgeStore *store, const char *folder, LodgeVncTls *out_tls,
                   GError **error)
{
    g_autofree char *own = g_build_filename(store->root, "vnc-tls", NULL);
    if (folder == NULL && !g_file_test(own, G_FILE_TEST_IS_DIR) && !make(store, own, error)) {
        return FALSE;
    }
    LodgeVncTls tls = {g_build_filename(folder != NULL ? folder : own, CERTIFICATE, NULL),
                       g_build_filename(folder != NULL ? folder : own, KEY, NULL)};
    const char *missing = access(tls.certificate, R_OK) != 0 ? tls.certificate
                          : access(tls.key, R_OK) != 0       ? tls.key
                                                             : NULL;
    if (missing != NULL) {
        lodge_error_errno(error, errno, "%s", missing);
        lodge_vnc_tls_clear(&tls);
        return FALSE;
    }
    *out_tls = tls;
    return TRUE;
}

char *
lodge_vnc_tls_fingerprint(const LodgeVncTls *tls)
{
    const char *const argv[] = {"openssl", "x509",         "-in",     tls->certificate,
                                "-noout",  "-fingerprint", "-sha256", NULL};
    g_autofree char *said = NULL;
    if (!lodge_process_run_argv(argv, OPENSSL_TIMEOUT_MS, &said, NULL)) {
        return NULL;
    }
    const char *equals = strchr(said, '=');
    return equals != NULL ? g_strstrip(g_strdup(equals + 1)) : NULL;
}

/* Ctrl-C ends the door, not those who came in by it. */
static void
be_apart(gpointer data)
{
    (void)data;
    setsid();
}

gboolean
lodge_vnc_tls_hand_over(const LodgeStore *store, const char *name, int fd, const LodgeVncTls *tls,
                        pid_t *out_pid, GError **error)
{
    int pair[2];
    g_autofree char *program = lodge_program_own("lodge-vnc-tls", LODGE_LIBEXEC_DIR);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        return lodge_error_errno(error, errno, "A socket for the viewer");
    }
    lodge_autofd ours = pair[0];
    lodge_autofd theirs = pair[1];
    if (!lodge_vnc_hand_over(store, name, theirs, FALSE, error)) {
        return FALSE;
    }
    const char *const argv[] = {program, tls->certificate, tls->key, NULL};
    const int from[] = {ours};
    const int to[] = {QEMU_FD};
    g_autoptr(GError) problem = NULL;
    return g_spawn_async_with_pipes_and_fds(NULL, argv, NULL, FLAGS, be_apart, NULL, fd, -1, -1,
                                            from, to, 1, out_pid, NULL, NULL, NULL, &problem) ||
           lodge_error_set(error, LODGE_ERROR_FAILED, "%s", problem->message);
}
