#include "config.h"

#include <string.h>

#include "base/base.h"
#include "helpers/fetch.h"

SoupMessage *
lodge_fetch_request(GUri *uri, guint64 start_bytes, const char *etag)
{
    SoupMessage *message = soup_message_new_from_uri("GET", uri);
    SoupMessageHeaders *headers = soup_message_get_request_headers(message);
    /* Redirections are judged by us. */
    soup_message_add_flags(message, SOUP_MESSAGE_NO_REDIRECT);
    soup_message_headers_replace(headers, "Accept-Encoding", "identity");
    if (start_bytes > 0) {
        soup_message_headers_set_range(headers, (goffset)start_bytes, -1);
        if (etag != NULL) {
            soup_message_headers_replace(headers, "If-Range", etag);
        }
    }
    return message;
}

void
lodge_fetch_explain_status(SoupMessage *message, const char *url, GError **error)
{
    guint status = soup_message_get_status(message);
    gboolean absent = status == SOUP_STATUS_NOT_FOUND || status == SOUP_STATUS_GONE;
    g_autofree char *phrase = lodge_text_printable(soup_message_get_reason_phrase(message));
    lodge_error_set(error, absent ? LODGE_ERROR_NOT_FOUND : LODGE_ERROR_FAILED,
                    "%s: the server answers %u %s", url, status, phrase);
}

gboolean
lodge_fetch_is_passing(const GError *problem)
{
    static const int io_codes[] = {
        G_IO_ERROR_TIMED_OUT,        G_IO_ERROR_CONNECTION_REFUSED,  G_IO_ERROR_CONNECTION_CLOSED,
        G_IO_ERROR_HOST_UNREACHABLE, G_IO_ERROR_NETWORK_UNREACHABLE, G_IO_ERROR_PARTIAL_INPUT,
    };
    for (gsize i = 0; i < G_N_ELEMENTS(io_codes); i++) {
        if (g_error_matches(problem, G_IO_ERROR, io_codes[i])) {
            return TRUE;
        }
    }
    return g_error_matches(problem, G_RESOLVER_ERROR, G_RESOLVER_ERROR_TEMPORARY_FAILURE) ||
           g_error_matches(problem, G_TLS_ERROR, G_TLS_ERROR_EOF);
}

/* What is wrong with the server's certificate. */
static const char *
certificate_fault(SoupMessage *message)
{
    static const struct {
        GTlsCertificateFlags flag;
        const char *words;
    } faults[] = {
        {G_TLS_CERTIFICATE_UNKNOWN_CA, "its certificate is signed by nobody this host trusts"},
        {G_TLS_CERTIFICATE_BAD_IDENTITY, "its certificate is for another host"},
        {G_TLS_CERTIFICATE_EXPIRED, "its certificate has expired (or this host's clock is wrong)"},
        {G_TLS_CERTIFICATE_NOT_ACTIVATED,
         "its certificate isn't valid yet (or this host's clock is wrong)"},
        {G_TLS_CERTIFICATE_REVOKED, "its certificate was revoked"},
        {G_TLS_CERTIFICATE_INSECURE, "its certificate uses a broken algorithm"},
    };
    GTlsCertificateFlags flags = message != NULL
                                     ? soup_message_get_tls_peer_certificate_errors(message)
                                     : 0;
    for (gsize i = 0; i < G_N_ELEMENTS(faults); i++) {
        if (flags & faults[i].flag) {
            return faults[i].words;
        }
    }
    return NULL;
}

void
lodge_fetch_explain(const GError *problem, SoupMessage *message, const char *url, GError **error)
{
    const char *fault = certificate_fault(message);
    if (problem->domain == G_RESOLVER_ERROR) {
        lodge_error_set(error, LODGE_ERROR_FAILED,
                        "%s: the host's name can't be resolved (no network, no DNS, or no such "
                        "host)",
                        url);
    } else if (problem->domain == G_TLS_ERROR) {
        lodge_error_set(error, LODGE_ERROR_FAILED, "%s: no secure connection: %s", url,
                        fault != NULL ? fault : problem->message);
    } else if (g_error_matches(problem, G_IO_ERROR, G_IO_ERROR_TIMED_OUT)) {
        lodge_error_set(error, LODGE_ERROR_TIMEOUT, "%s: nothing came for 30 s", url);
    } else if (g_error_matches(problem, G_IO_ERROR, G_IO_ERROR_PARTIAL_INPUT)) {
        lodge_error_set(error, LODGE_ERROR_FAILED, "%s: the connection ended before the file did",
                        url);
    } else {
        g_autofree char *shown = lodge_text_printable(problem->message);
        lodge_error_set(error, LODGE_ERROR_FAILED, "%s: %s", url, shown);
    }
}

GUri *
lodge_fetch_redirect(SoupMessage *message, GUri *from, const char *url, GError **error)
{
    const char *location = soup_message_headers_get_one(soup_message_get_response_headers(message),
                                                        "Location");
    g_autoptr(GUri) to = location != NULL
                             ? g_uri_parse_relative(from, location, SOUP_HTTP_URI_FLAGS, NULL)
                             : NULL;
    if (to == NULL) {
        lodge_error_set(error, LODGE_ERROR_FAILED, "%s: the server redirects to nowhere", url);
        return NULL;
    }
    gboolean was_secure = g_str_equal(g_uri_get_scheme(from), "https");
    gboolean is_secure = g_str_equal(g_uri_get_scheme(to), "https");
    if (was_secure && !is_secure) {
        lodge_error_set(
            error, LODGE_ERROR_FAILED,
            "%s: the server redirects from https to %s, which anybody could tamper with", url,
            g_uri_get_scheme(to));
        return NULL;
    }
    if (!is_secure && !g_str_equal(g_uri_get_scheme(to), "http")) {
        lodge_error_set(error, LODGE_ERROR_FAILED,
                        "%s: the server redirects to %s:, which is not fetched", url,
                        g_uri_get_scheme(to));
        return NULL;
    }
    return g_steal_pointer(&to);
}

/* The first of @names that is set and not empty, as a URL. Free with g_free; NULL: none. */
static char *
proxy_of(const char *const *names)
{
    for (gsize i = 0; names[i] != NULL; i++) {
        const char *value = g_getenv(names[i]);
        if (value != NULL && *value != '\0') {
            return strstr(value, "://") != NULL ? g_strdup(value)
                                                : g_strconcat("http://", value, NULL);
        }
    }
    return NULL;
}

GProxyResolver *
lodge_fetch_proxies(void)
{
    /* HTTP_PROXY in capitals is left out, as everywhere: a CGI's client could set it. */
    static const char *const http_names[] = {"http_proxy", "all_proxy", "ALL_PROXY", NULL};
    static const char *const https_names[] = {"https_proxy", "HTTPS_PROXY", "all_proxy",
                                              "ALL_PROXY", NULL};
    g_autofree char *http = proxy_of(http_names);
    g_autofree char *https = proxy_of(https_names);
    const char *exceptions = g_getenv("no_proxy") != NULL ? g_getenv("no_proxy")
                                                          : g_getenv("NO_PROXY");
    g_auto(GStrv) ignored = g_strsplit_set(exceptions != NULL ? exceptions : "", ", ", -1);
    g_autoptr(GPtrArray) hosts = g_ptr_array_new();
    for (gsize i = 0; ignored[i] != NULL; i++) {
        if (*ignored[i] != '\0') {
            g_ptr_array_add(hosts, ignored[i]);
        }
    }
    g_ptr_array_add(hosts, NULL);
    gboolean none = g_strcmp0(exceptions, "*") == 0;
    GProxyResolver *resolver = g_simple_proxy_resolver_new(NULL, (char **)hosts->pdata);
    GSimpleProxyResolver *simple = G_SIMPLE_PROXY_RESOLVER(resolver);
    if (http != NULL && !none) {
        g_simple_proxy_resolver_set_uri_proxy(simple, "http", http);
    }
    if (https != NULL && !none) {
        g_simple_proxy_resolver_set_uri_proxy(simple, "https", https);
    }
    return resolver;
}
