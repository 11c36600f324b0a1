/* Lines of JSON over a Unix socket: bounded, never blocking but where it says so. Private to this
 * layer: QMP and the guest agent's client both stand on it. */
#pragma once

#include <glib.h>

#include "base/json.h"

typedef struct LodgeWire LodgeWire;

/* Take the connected socket @fd. @peer is what errors call the other end ("QEMU"). A line longer
 * than @limit_bytes is an error. Never fails. */
LodgeWire *lodge_wire_new(int fd, const char *peer, gsize limit_bytes);
void lodge_wire_free(LodgeWire *wire);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeWire, lodge_wire_free)

int lodge_wire_fd(const LodgeWire *wire);

/* Queue @text, which is copied, with the descriptor @passed_fd (-1: none), which is duplicated.
 * FAILED only if it can't be. Nothing is sent yet. */
gboolean lodge_wire_send(LodgeWire *wire, const char *text, int passed_fd, GError **error);

/* The same for a message: compact JSON after @mark ("" or the agent's 0xFF), a newline behind it.
 * INVALID if it has no JSON form. */
gboolean lodge_wire_send_json(LodgeWire *wire, const char *mark, const json_t *message,
                              int passed_fd, GError **error);

/* Send what the socket takes now. A peer that went away is no error here: reading tells. */
gboolean lodge_wire_flush(LodgeWire *wire, GError **error);
gboolean lodge_wire_has_unsent(const LodgeWire *wire);
/* Forget what was not sent yet, a message half sent included. */
void lodge_wire_drop_unsent(LodgeWire *wire);

/* Read once what is there. Bytes read; 0 if nothing is there or the peer has closed; -1 on error.
 */
gssize lodge_wire_read(LodgeWire *wire, GError **error);
/* Has the peer closed? Whole lines may still wait to be taken. */
gboolean lodge_wire_at_end(const LodgeWire *wire);

/* Has the peer sent what no line was taken of, be it a part of one? */
gboolean lodge_wire_has_unread(const LodgeWire *wire);

/* Send what is unsent and wait until something was read or the peer has closed (both TRUE).
 * TIMEOUT and INTERRUPTED come even if the peer never falls silent. */
gboolean lodge_wire_wait(LodgeWire *wire, gint64 deadline, GError **error);

/* The next whole line without its end, not NUL-terminated; valid until the next read. NULL if there
 * is none yet; NULL with INVALID if the peer began one that is too long: what was read is dropped.
 */
const char *lodge_wire_line(LodgeWire *wire, gsize *out_length, GError **error);

/* Parse a line as one JSON object, within bounds of memory. New reference; NULL with INVALID. */
json_t *lodge_wire_parse(const LodgeWire *wire, const char *line, gsize length, GError **error);

/* Set @error from the "error" member of a reply, prefixed with @command. The code follows the
 * class: CommandNotFound and KVMMissingCap give UNSUPPORTED, DeviceNotFound NOT_FOUND,
 * DeviceNotActive BUSY, others FAILED; INVALID if the member has not the right shape. Returns the
 * class as a static string ("GenericError" for unknown ones). */
const char *lodge_wire_reply_error(const json_t *problem, const char *command, GError **error);

/* A peer's text for a message to people: printable, at most some hundred bytes. g_free it. */
char *lodge_wire_printable(const char *text);
