#include "config.h"

#include "image/tests/http.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <glib.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t server_pid;

typedef struct {
    const char *folder;
    int fd;
    char how[16];
    char name[128];
    gsize start;
    gboolean has_range;
    guint busy_count;
} Exchange;

static void
answer(const Exchange *exchange, const char *head, const char *body, gsize length)
{
    g_autofree char *text = g_strdup_printf("HTTP/1.1 %s\r\nConnection: close\r\n\r\n", head);
    if (write(exchange->fd, text, strlen(text)) > 0 && length > 0) {
        for (gsize done = 0; done < length;) {
            gssize put = write(exchange->fd, body + done, length - done);
            if (put <= 0) {
                return;
            }
            done += (gsize)put;
        }
    }
}

static gboolean
read_request(Exchange *exchange)
{
    char buffer[8192];
    gsize length = 0;
    for (;;) {
        gssize got = read(exchange->fd, buffer + length, sizeof buffer - 1 - length);
        if (got <= 0) {
            return FALSE;
        }
        length += (gsize)got;
        buffer[length] = '\0';
        if (strstr(buffer, "\r\n\r\n") != NULL) {
            break;
        }
    }
    const char *range = strcasestr(buffer, "\r\nrange: bytes=");
    exchange->has_range = range != NULL;
    exchange->start = range != NULL ? (gsize)g_ascii_strtoull(range + 15, NULL, 10) : 0;
    g_autofree char *log = g_build_filename(exchange->folder, ".requests", NULL);
    FILE *file = fopen(log, "a");
    gboolean good = sscanf(buffer, "GET /%15[^/]/%127s", exchange->how, exchange->name) == 2;
    fprintf(file, "%s/%s %d\n", exchange->how, exchange->name, (int)exchange->start);
    fclose(file);
    return good;
}

static void
send_file(const Exchange *exchange, const char *bytes, gsize length)
{
    gboolean plain = g_str_equal(exchange->how, "plain");
    gboolean ranged = exchange->has_range && !plain;
    gboolean cut = g_str_equal(exchange->how, "cut") ||
                   (g_str_equal(exchange->how, "cutonce") && !exchange->has_range);
    gsize start = ranged ? MIN(exchange->start, length) : 0;
    gsize stated = start + (g_str_equal(exchange->how, "bogus") && ranged ? 1 : 0);
    if (ranged && exchange->start >= length) {
        answer(exchange, "416 Range Not Satisfiable", NULL, 0);
        return;
    }
    g_autofree char *head =
        ranged ? g_strdup_printf("206 Partial Content\r\nContent-Length: %d\r\nContent-Range: "
                                 "bytes %d-%d/%d\r\nETag: \"one\"",
                                 (int)(length - start), (int)stated, (int)length - 1, (int)length)
               : g_strdup_printf("200 OK\r\nContent-Length: %d%s", (int)length,
                                 plain ? "" : "\r\nETag: \"one\"\r\nAccept-Ranges: bytes");
    gboolean slow = g_str_equal(exchange->how, "slow");
    answer(exchange, head, bytes + start, cut || slow ? (length - start) / 2 : length - start);
    char rest[64];
    while (slow && read(exchange->fd, rest, sizeof rest) > 0) {
    }
}

static void
serve_one(Exchange *exchange)
{
    gsize length = 0;
    g_autofree char *bytes = NULL;
    if (!read_request(exchange)) {
        return;
    }
    g_autofree char *path = g_build_filename(exchange->folder, exchange->name, NULL);
    g_autofree char *moved = g_strdup_printf("302 Found\r\nLocation: ../files/%s", exchange->name);
    if (g_str_equal(exchange->how, "moved")) {
        answer(exchange, moved, NULL, 0);
    } else if (g_str_equal(exchange->how, "outward")) {
        answer(exchange, "302 Found\r\nLocation: ftp://127.0.0.1/x", NULL, 0);
    } else if (g_str_equal(exchange->how, "round")) {
        answer(exchange, "302 Found\r\nLocation: x", NULL, 0);
    } else if (g_str_equal(exchange->how, "busy") && exchange->busy_count++ == 0) {
        answer(exchange, "503 Service Unavailable", NULL, 0);
    } else if (g_file_get_contents(path, &bytes, &length, NULL)) {
        send_file(exchange, bytes, length);
    } else {
        answer(exchange, "404 Not Found", NULL, 0);
    }
}

static void
serve(int listener, const char *folder)
{
    Exchange exchange = {.folder = folder};
    for (;;) {
        exchange.fd = accept(listener, NULL, NULL);
        if (exchange.fd < 0) {
            _exit(1);
        }
        serve_one(&exchange);
        shutdown(exchange.fd, SHUT_WR);
        close(exchange.fd);
    }
}

int
test_http_start(const char *folder)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(bind(listener, (struct sockaddr *)&address, length), ==, 0);
    g_assert_cmpint(listen(listener, 8), ==, 0);
    g_assert_cmpint(getsockname(listener, (struct sockaddr *)&address, &length), ==, 0);
    server_pid = fork();
    if (server_pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGPIPE, SIG_IGN);
        serve(listener, folder);
    }
    close(listener);
    return ntohs(address.sin_port);
}

void
test_http_stop(void)
{
    kill(server_pid, SIGKILL);
    waitpid(server_pid, NULL, 0);
}
