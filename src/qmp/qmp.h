/* QEMU's monitor protocol: commands, replies, events. One thread; one LodgeQmp is one connection.
 *
 * Two ways to use it, also mixed: the calls with a deadline wait (for commands of the command
 * line); lodge_qmp_pump(), lodge_qmp_send() and lodge_qmp_take_event() never do (for a main loop).
 *
 * Errors of all calls that talk to QEMU, prefixed with the command's name where there is one:
 *   TIMEOUT      no answer before the deadline; one that comes later is dropped
 *   INTERRUPTED  a signal came (base/wait.h)
 *   FAILED       QEMU refused, or "QEMU closed the connection" (lodge_qmp_is_closed() tells)
 *   NOT_FOUND, UNSUPPORTED, BUSY  QEMU refused, with a class that says so: DeviceNotFound;
 *                CommandNotFound or KVMMissingCap; DeviceNotActive
 *   INVALID      QEMU sent what is not QMP, or the arguments are not UTF-8
 * After a lost connection or malformed input the connection is closed for good: each call then
 * gives that same error. Calls may not be made on it from another thread.
 */
#pragma once

#include <glib.h>

#include "base/json.h"

/* What is accepted from QEMU. Of events that nobody takes the oldest are dropped. */
#define LODGE_QMP_MESSAGE_LIMIT_BYTES (16 * 1024 * 1024)
#define LODGE_QMP_EVENTS_LIMIT 4096
#define LODGE_QMP_EVENTS_LIMIT_BYTES (32 * 1024 * 1024)

typedef struct LodgeQmp LodgeQmp;

/* The reply of a command that lodge_qmp_send() sent: @result (borrowed) or @error. It may send,
 * call and take events; it may not free @qmp. */
typedef void (*LodgeQmpReplyFunc)(LodgeQmp *qmp, const json_t *result, const GError *error,
                                  gpointer data);
typedef gboolean (*LodgeQmpMatchFunc)(const json_t *event, gpointer data);

/* Connect to the socket at @socket_path and shake hands. NOT_FOUND if nothing listens there.
 * TIMEOUT also if another client has the socket: QEMU serves one at a time. */
LodgeQmp *lodge_qmp_connect(const char *socket_path, gint64 deadline, GError **error);

/* Use the connected socket @fd, which is taken. Returns at once: the hands are shaken as messages
 * come, by whichever calls follow; commands sent before are held until then. */
LodgeQmp *lodge_qmp_new(int fd);

/* NULL is fine. Commands without a reply so far are forgotten, their callbacks not called. */
void lodge_qmp_free(LodgeQmp *qmp);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeQmp, lodge_qmp_free)

/* Wait for QEMU's greeting, from which on it takes commands. TRUE at once if it came. */
gboolean lodge_qmp_handshake(LodgeQmp *qmp, gint64 deadline, GError **error);
/* Did it? */
gboolean lodge_qmp_is_ready(const LodgeQmp *qmp);
/* Is the connection lost, or given up because of malformed input? */
gboolean lodge_qmp_is_closed(const LodgeQmp *qmp);

/* QEMU's version as major * 10000 + minor * 100 + micro (7.2.14: 70214); 0 before the greeting. */
int lodge_qmp_version(const LodgeQmp *qmp);

/* Run @command and wait for its reply. @arguments is an object, taken in any case; NULL: none.
 * Returns the value of "return" (new reference), or NULL. */
json_t *lodge_qmp_call(LodgeQmp *qmp, const char *command, json_t *arguments, gint64 deadline,
                       GError **error);

/* The same, passing a copy of the descriptor @fd along (add-fd, getfd, add_client). The caller
 * keeps
 * @fd. */
json_t *lodge_qmp_call_fd(LodgeQmp *qmp, const char *command, json_t *arguments, int fd,
                          gint64 deadline, GError **error);

/* The same with arguments as for json_pack(): lodge_qmp_ask(qmp, deadline, error, "qom-get",
 * "{s:s, s:s}", "path", path, "property", name). @format NULL: none. Prefer it to json_pack() in a
 * call: where a text is not UTF-8 it gives an error, not a command without arguments. */
json_t *lodge_qmp_ask(LodgeQmp *qmp, gint64 deadline, GError **error, const char *command,
                      const char *format, ...);

/* lodge_qmp_ask() for commands whose result tells nothing. */
gboolean lodge_qmp_run(LodgeQmp *qmp, gint64 deadline, GError **error, const char *command,
                       const char *format, ...);

/* The class of QEMU's last error reply: "GenericError", "CommandNotFound", "DeviceNotFound",
 * "DeviceNotActive", "KVMMissingCap"; NULL if the last reply was none. In reply callbacks too. */
const char *lodge_qmp_error_class(const LodgeQmp *qmp);

/* An event's name ("SHUTDOWN"), and its data: an object, empty if it has none. Borrowed. */
const char *lodge_qmp_event_name(const json_t *event);
const json_t *lodge_qmp_event_data(const json_t *event);

/* The oldest event not taken yet; waits for one. New reference, NULL on error. Events that came
 * before the connection was lost are given before the error. */
json_t *lodge_qmp_next_event(LodgeQmp *qmp, gint64 deadline, GError **error);

/* The first event called @name (NULL: any) for which @match (NULL: any) says TRUE, among those that
 * came already or later. The others stay in the queue. New reference, NULL on error. */
json_t *lodge_qmp_wait_event(LodgeQmp *qmp, const char *name, LodgeQmpMatchFunc match,
                             gpointer data, gint64 deadline, GError **error);

/* The oldest event not taken yet, or NULL. Never waits. New reference. */
json_t *lodge_qmp_take_event(LodgeQmp *qmp);
/* Events dropped so far because too many were not taken. */
guint64 lodge_qmp_dropped_events(const LodgeQmp *qmp);

/* For a main loop: poll the descriptor for the events (G_IO_IN, and G_IO_OUT while something is
 * unsent: ask again after each pump and send), then pump. */
int lodge_qmp_fd(const LodgeQmp *qmp);
GIOCondition lodge_qmp_fd_events(const LodgeQmp *qmp);

/* Send and read what can be without waiting, at most a few MiB: calls the callbacks of replies, and
 * queues events for lodge_qmp_take_event(). FALSE once the connection is closed; events that came
 * before are in the queue all the same. */
gboolean lodge_qmp_pump(LodgeQmp *qmp, GError **error);

/* Send @command without waiting; @arguments is taken; @fd as above, or -1. @reply (NULL: not
 * wanted) is called once, from a later pump or call: with the result, QEMU's error, or the loss of
 * the connection. Returns the command's id, or 0 with an error, @reply then is not called. */
guint64 lodge_qmp_send(LodgeQmp *qmp, const char *command, json_t *arguments, int fd,
                       LodgeQmpReplyFunc reply, gpointer data, GError **error);

/* Give up on the command: its callback will not be called. One that is not sent yet is not sent. */
void lodge_qmp_forget(LodgeQmp *qmp, guint64 id);
