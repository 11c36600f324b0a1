/* lodge-fetch: what the network's errors mean, redirections and proxies. */
#pragma once

#include <libsoup/soup.h>

/* A request for @uri from @start_bytes on, if that is still what has @etag (NULL: unknown). */
SoupMessage *lodge_fetch_request(GUri *uri, guint64 start_bytes, const char *etag);

/* Set @error to what the answer's status says. */
void lodge_fetch_explain_status(SoupMessage *message, const char *url, GError **error);

/* May trying again help? */
gboolean lodge_fetch_is_passing(const GError *problem);

/* Set @error to the reason in people's words. @message, whose certificate may be to blame, may be
 * NULL. */
void lodge_fetch_explain(const GError *problem, SoupMessage *message, const char *url,
                         GError **error);

/* Where @message, the answer from @from, sends us. Free with g_uri_unref. NULL on error: nowhere,
 * from https to http, or to another scheme. */
GUri *lodge_fetch_redirect(SoupMessage *message, GUri *from, const char *url, GError **error);

/* http_proxy, https_proxy, all_proxy and no_proxy of the environment. New reference. */
GProxyResolver *lodge_fetch_proxies(void);
