/* lodge-fetch: downloads one file. A program of its own, so that lodge needn't load libsoup.
 *
 * Theory of operation: FILE holds what has come so far, hashed as it comes. An attempt asks for the
 * rest of it; attempts go on while they bring something or the trouble may pass. What a broken
 * network leaves is kept for the next run, which trusts it only because the checksum will tell; a
 * FILE that is wrong, or that nothing could verify later, is removed. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <libsoup/soup.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "helpers/fetch.h"

enum {
    STALL_TIMEOUT_S = 30,
    BUFFER_BYTES = 256 << 10,
    REPORT_EVERY_US = 100 * 1000,
    REDIRECT_LIMIT = 10,
    TRIES = 4,
    TRIES_BEFORE_FIRST_BYTE = 2,
    PAUSE_MS = 1000,
};

typedef enum {
    OUTCOME_DONE,
    OUTCOME_AGAIN, /* start over at once: what we have doesn't fit what the server has */
    OUTCOME_RETRY, /* it may pass */
    OUTCOME_FAIL,
} Outcome;

typedef struct {
    const char *url;
    const char *file;
    char *digits; /* expected, lower case; NULL: any */
    GChecksumType hash_type;
    GChecksum *hash;
    guint64 limit_bytes;
    SoupSession *session;
    int fd;
    guint64 have_bytes;
    guint64 total_bytes; /* 0: unknown */
    char *etag;          /* of what came in this run */
    gboolean resumed;    /* some of it came in an earlier run */
    gint64 reported_us;
} Fetch;

static gboolean
forget_content(Fetch *fetch, GError **error)
{
    fetch->have_bytes = 0;
    fetch->resumed = FALSE;
    g_clear_pointer(&fetch->etag, g_free);
    g_checksum_reset(fetch->hash);
    if (ftruncate(fetch->fd, 0) < 0) {
        return lodge_error_errno(error, errno, "%s", fetch->file);
    }
    return TRUE;
}

/* Take up what an earlier run left, if a checksum will judge the whole. */
static gboolean
open_file(Fetch *fetch, GError **error)
{
    fetch->fd = open(fetch->file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fetch->fd < 0) {
        return lodge_error_errno(error, errno, "%s", fetch->file);
    }
    if (fetch->digits == NULL) {
        return forget_content(fetch, error);
    }
    g_autofree guchar *buffer = g_malloc(BUFFER_BYTES);
    for (gssize got;
         (got = pread(fetch->fd, buffer, BUFFER_BYTES, (off_t)fetch->have_bytes)) > 0;) {
        g_checksum_update(fetch->hash, buffer, got);
        fetch->have_bytes += (guint64)got;
    }
    fetch->resumed = fetch->have_bytes > 0;
    return TRUE;
}

static gboolean
matches(const Fetch *fetch)
{
    g_autoptr(GChecksum) copy = g_checksum_copy(fetch->hash);
    return fetch->digits != NULL && g_str_equal(g_checksum_get_string(copy), fetch->digits);
}

static void
report(Fetch *fetch, gboolean at_end)
{
    gint64 now = g_get_monotonic_time();
    if (at_end || now - fetch->reported_us >= REPORT_EVERY_US) {
        fetch->reported_us = now;
        printf("{\"done\":%" G_GUINT64_FORMAT ",\"total\":%" G_GUINT64_FORMAT "}\n",
               fetch->have_bytes, fetch->total_bytes);
        fflush(stdout);
    }
}

static gboolean
put(Fetch *fetch, const guchar *data, gsize length, GError **error)
{
    if (fetch->have_bytes + length > fetch->limit_bytes) {
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "%s: larger than the %" G_GUINT64_FORMAT " bytes that belong there",
                               fetch->url, fetch->limit_bytes);
    }
    g_checksum_update(fetch->hash, data, (gssize)length);
    while (length > 0) {
        gssize done = pwrite(fetch->fd, data, length, (off_t)fetch->have_bytes);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            return lodge_error_errno(error, errno, "%s", fetch->file);
        }
        data += done;
        length -= (gsize)done;
        fetch->have_bytes += (guint64)done;
    }
    report(fetch, FALSE);
    return TRUE;
}

static gboolean
check_room(const Fetch *fetch, GError **error)
{
    guint64 free_bytes = lodge_file_system_free(fetch->file);
    guint64 missing_bytes = fetch->total_bytes > fetch->have_bytes
                                ? fetch->total_bytes - fetch->have_bytes
                                : 0;
    if (free_bytes > 0 && missing_bytes > free_bytes) {
        g_autofree char *missing = lodge_size_human(missing_bytes);
        g_autofree char *left = lodge_size_human(free_bytes);
        return lodge_error_set(error, LODGE_ERROR_FAILED,
                               "%s: needs %s more, and only %s is free (free some space there, or "
                               "move the data with LODGE_DIR)",
                               fetch->file, missing, left);
    }
    return TRUE;
}

static Outcome
copy_stream(Fetch *fetch, GInputStream *stream, GError **error)
{
    g_autofree guchar *buffer = g_malloc(BUFFER_BYTES);
    if (!check_room(fetch, error)) {
        return OUTCOME_FAIL;
    }
    for (;;) {
        g_autoptr(GError) problem = NULL;
        gssize got = g_input_stream_read(stream, buffer, BUFFER_BYTES, NULL, &problem);
        if (got < 0) {
            gboolean passing = lodge_fetch_is_passing(problem);
            lodge_fetch_explain(problem, NULL, fetch->url, error);
            return passing ? OUTCOME_RETRY : OUTCOME_FAIL;
        }
        if (got == 0) {
            break;
        }
        if (!put(fetch, buffer, (gsize)got, error)) {
            return OUTCOME_FAIL;
        }
    }
    if (fetch->total_bytes > 0 && fetch->have_bytes < fetch->total_bytes) {
        lodge_error_set(error, LODGE_ERROR_FAILED, "%s: the connection ended before the file did",
                        fetch->url);
        return OUTCOME_RETRY;
    }
    return OUTCOME_DONE;
}

/* The server's answer is a part or all of the file. */
static Outcome
receive(Fetch *fetch, SoupMessage *message, GInputStream *stream, GError **error)
{
    SoupMessageHeaders *headers = soup_message_get_response_headers(message);
    goffset start = 0, end = 0, total = 0;
    if (soup_message_get_status(message) == SOUP_STATUS_PARTIAL_CONTENT) {
        if (!soup_message_headers_get_content_range(headers, &start, &end, &total) ||
            (guint64)start != fetch->have_bytes) {
            return forget_content(fetch, error) ? OUTCOME_AGAIN : OUTCOME_FAIL;
        }
        fetch->total_bytes = total > 0 ? (guint64)total : (guint64)end + 1;
    } else {
        if (!forget_content(fetch, error)) {
            return OUTCOME_FAIL;
        }
        total = soup_message_headers_get_content_length(headers);
        fetch->total_bytes = total > 0 ? (guint64)total : 0;
    }
    const char *etag = soup_message_headers_get_one(headers, "ETag");
    if (etag != NULL && !g_str_has_prefix(etag, "W/")) {
        g_free(fetch->etag);
        fetch->etag = g_strdup(etag);
    }
    return copy_stream(fetch, stream, error);
}

static Outcome
judge_status(Fetch *fetch, SoupMessage *message, GError **error)
{
    guint status = soup_message_get_status(message);
    if (status == SOUP_STATUS_REQUESTED_RANGE_NOT_SATISFIABLE && fetch->have_bytes > 0) {
        return forget_content(fetch, error) ? OUTCOME_AGAIN : OUTCOME_FAIL;
    }
    lodge_fetch_explain_status(message, fetch->url, error);
    return status == 408 || status == 429 || status >= 500 ? OUTCOME_RETRY : OUTCOME_FAIL;
}

static Outcome
attempt_http(Fetch *fetch, GUri *first, GError **error)
{
    g_autoptr(GUri) uri = g_uri_ref(first);
    for (int i = 0; i < REDIRECT_LIMIT; i++) {
        g_autoptr(GError) problem = NULL;
        g_autoptr(SoupMessage) message = lodge_fetch_request(uri, fetch->have_bytes, fetch->etag);
        g_autoptr(GInputStream) stream = soup_session_send(fetch->session, message, NULL, &problem);
        if (stream == NULL) {
            lodge_fetch_explain(problem, message, fetch->url, error);
            return lodge_fetch_is_passing(problem) ? OUTCOME_RETRY : OUTCOME_FAIL;
        }
        guint status = soup_message_get_status(message);
        if (SOUP_STATUS_IS_REDIRECTION(status)) {
            GUri *next = lodge_fetch_redirect(message, uri, fetch->url, error);
            if (next == NULL) {
                return OUTCOME_FAIL;
            }
            g_uri_unref(uri);
            uri = next;
            continue;
        }
        if (status != SOUP_STATUS_OK && status != SOUP_STATUS_PARTIAL_CONTENT) {
            return judge_status(fetch, message, error);
        }
        return receive(fetch, message, stream, error);
    }
    lodge_error_set(error, LODGE_ERROR_FAILED, "%s: redirected more than %d times", fetch->url,
                    REDIRECT_LIMIT);
    return OUTCOME_FAIL;
}

static Outcome
attempt_local(Fetch *fetch, GError **error)
{
    g_autoptr(GFile) source = g_file_new_for_uri(fetch->url);
    g_autoptr(GFileInputStream) stream = g_file_read(source, NULL, error);
    if (stream == NULL || !forget_content(fetch, error)) {
        return OUTCOME_FAIL;
    }
    g_autoptr(GFileInfo)
        info = g_file_input_stream_query_info(stream, G_FILE_ATTRIBUTE_STANDARD_SIZE, NULL, NULL);
    fetch->total_bytes = info != NULL ? (guint64)g_file_info_get_size(info) : 0;
    return copy_stream(fetch, G_INPUT_STREAM(stream), error);
}

static Outcome
attempt(Fetch *fetch, GError **error)
{
    g_autoptr(GUri) uri = g_uri_parse(fetch->url, SOUP_HTTP_URI_FLAGS, error);
    if (uri == NULL) {
        return OUTCOME_FAIL;
    }
    const char *scheme = g_uri_get_scheme(uri);
    if (g_str_equal(scheme, "file")) {
        return attempt_local(fetch, error);
    }
    if (!g_str_equal(scheme, "http") && !g_str_equal(scheme, "https")) {
        lodge_error_set(error, LODGE_ERROR_USAGE, "%s: only http, https and file can be fetched",
                        fetch->url);
        return OUTCOME_FAIL;
    }
    return attempt_http(fetch, uri, error);
}

/* All has come: is it right? What an earlier run left may have been of another version. */
static Outcome
verify(Fetch *fetch, GError **error)
{
    if (fetch->digits == NULL || matches(fetch)) {
        return OUTCOME_DONE;
    }
    if (fetch->resumed) {
        return forget_content(fetch, error) ? OUTCOME_AGAIN : OUTCOME_FAIL;
    }
    lodge_error_set(error, LODGE_ERROR_INVALID,
                    "%s: wrong checksum: expected %.16s…, got %.16s… (the file is damaged, or just "
                    "being replaced: try again later)",
                    fetch->url, fetch->digits, g_checksum_get_string(fetch->hash));
    return OUTCOME_FAIL;
}

/* Try until it is here or hopeless. FALSE: *@out_keep says whether the rest is worth keeping. */
static gboolean
run(Fetch *fetch, gboolean *out_keep, GError **error)
{
    int tries = 0;
    guint64 best_bytes = fetch->have_bytes;
    gboolean came = FALSE;
    *out_keep = FALSE;
    while (!matches(fetch)) {
        g_autoptr(GError) problem = NULL;
        Outcome outcome = attempt(fetch, &problem);
        if (outcome == OUTCOME_DONE) {
            outcome = verify(fetch, &problem);
        }
        if (outcome == OUTCOME_DONE) {
            break;
        }
        /* An attempt that got further than any before is worth as many again. */
        tries = fetch->have_bytes > best_bytes ? 1 : tries + 1;
        came = came || fetch->have_bytes > best_bytes;
        best_bytes = MAX(best_bytes, fetch->have_bytes);
        if (outcome == OUTCOME_FAIL || tries >= (came ? TRIES : TRIES_BEFORE_FIRST_BYTE)) {
            *out_keep = outcome == OUTCOME_RETRY && fetch->digits != NULL && fetch->have_bytes > 0;
            if (problem == NULL) {
                lodge_error_set(&problem, LODGE_ERROR_FAILED,
                                "%s: the server doesn't send the part it is asked for", fetch->url);
            }
            g_propagate_error(error, g_steal_pointer(&problem));
            return FALSE;
        }
        if (outcome == OUTCOME_RETRY && !lodge_wait_for((gint64)PAUSE_MS << (tries - 1), error)) {
            return FALSE;
        }
    }
    report(fetch, TRUE);
    return fsync(fetch->fd) == 0 || lodge_error_errno(error, errno, "%s", fetch->file);
}

static gboolean
fetch_file(Fetch *fetch, GError **error)
{
    gboolean keep = FALSE;
    g_autoptr(GChecksum) hash = g_checksum_new(fetch->hash_type);
    g_autoptr(SoupSession) session = soup_session_new_with_options(
        "timeout", STALL_TIMEOUT_S, "user-agent", "lodge/" LODGE_VERSION, NULL);
    g_autoptr(GProxyResolver) proxies = lodge_fetch_proxies();
    soup_session_set_proxy_resolver(session, proxies);
    /* A compressed image is wanted as it is, and ranges count its own bytes. */
    soup_session_remove_feature_by_type(session, SOUP_TYPE_CONTENT_DECODER);
    fetch->hash = hash;
    fetch->session = session;
    if (!open_file(fetch, error)) {
        return FALSE;
    }
    gboolean fine = run(fetch, &keep, error);
    if (!fine && !keep) {
        unlink(fetch->file);
    }
    lodge_fd_clear(&fetch->fd);
    g_free(fetch->etag);
    return fine;
}

static gboolean
parse(int *argc, char ***argv, Fetch *fetch, GError **error)
{
    g_autofree char *sha256 = NULL;
    g_autofree char *sha512 = NULL;
    g_autofree char *limit = NULL;
    const GOptionEntry entries[] = {
        {"sha256", 0, 0, G_OPTION_ARG_STRING, &sha256, "The checksum it must have", "HEX"},
        {"sha512", 0, 0, G_OPTION_ARG_STRING, &sha512, "The checksum it must have", "HEX"},
        {"limit", 0, 0, G_OPTION_ARG_STRING, &limit, "The size it may have", "SIZE"},
        {NULL},
    };
    g_autoptr(GOptionContext) context = g_option_context_new("URL FILE");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, argc, argv, error) ||
        (limit != NULL && !lodge_size_parse(limit, &fetch->limit_bytes, error))) {
        return FALSE;
    }
    const char *digits = sha512 != NULL ? sha512 : sha256;
    fetch->hash_type = sha512 != NULL ? G_CHECKSUM_SHA512 : G_CHECKSUM_SHA256;
    if (*argc != 3 || (digits != NULL && strlen(digits) != (sha512 != NULL ? 128 : 64))) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "lodge-fetch [--sha256 HEX|--sha512 HEX] [--limit SIZE] URL FILE");
    }
    fetch->digits = digits != NULL ? g_ascii_strdown(digits, -1) : NULL;
    fetch->url = (*argv)[1];
    fetch->file = (*argv)[2];
    return TRUE;
}

int
main(int argc, char **argv)
{
    setlocale(LC_ALL, "");
    signal(SIGPIPE, SIG_IGN);
    g_autoptr(GError) error = NULL;
    Fetch fetch = {.fd = -1, .limit_bytes = G_MAXINT64};
    gboolean fine = parse(&argc, &argv, &fetch, &error) && fetch_file(&fetch, &error);
    g_free(fetch.digits);
    if (fine) {
        return 0;
    }
    fprintf(stderr, "%s\n", error->message);
    return lodge_error_exit_status(error);
}
