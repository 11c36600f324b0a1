/* Between the parts of the agent's client. */
#pragma once

#include <poll.h>

#include "base/base.h"
#include "qmp/agent-control.h"
#include "qmp/agent-link.h"
#include "qmp/agent.h"

struct LodgeAgent {
    AgentLink link;
    int lock_fd;
    guint port;
    char *version;
    guint64 protocol;
    gboolean is_over;
    const LodgeAgentGuard *guard; /* or NULL */
};

enum {
    /* Enough to keep the port busy, and no more in memory. */
    AGENT_UNSENT_BYTES = 256 * 1024,
    AGENT_POLLS_AT_MOST = 4,
};

/* lodge_wait_polls() that heeds the guard; when that says so, the conversation is over. */
gboolean agent_wait(LodgeAgent *agent, struct pollfd *polls, gsize count, gint64 deadline,
                    GError **error);

/* --- Requests: fields, then one or more frames --- */

typedef GByteArray AgentRequest;
void agent_add_bytes(AgentRequest *request, guint8 tag, const void *bytes, gsize length);
/* Both: NULL adds nothing. */
void agent_add_text(AgentRequest *request, guint8 tag, const char *text);
void agent_add_texts(AgentRequest *request, guint8 tag, const char *const *texts);
void agent_add_number(AgentRequest *request, guint8 tag, guint64 number);
/* Bytes of any length, as several fields that the agent joins. */
void agent_add_long(AgentRequest *request, guint8 tag, const char *bytes, gsize length);

/* Queue it. INVALID if it, or one field, is too large. */
gboolean agent_request(LodgeAgent *agent, guint8 type, const AgentRequest *request, GError **error);

/* --- Answers --- */

/* The next frame if one is there: 1; 0: none yet; -1 on error, the conversation is over then. */
int agent_take(LodgeAgent *agent, AgentFrame *out_frame, GError **error);

/* The next frame, sending what is unsent meanwhile. */
gboolean agent_receive(LodgeAgent *agent, gint64 deadline, AgentFrame *out_frame, GError **error);

/* If the frame is FAILED: set the error that it stands for, and return FALSE. */
gboolean agent_check(const AgentFrame *frame, GError **error);

/* Set the error that a Problem of the guest's stands for. Returns FALSE. */
gboolean agent_problem(GError **error, guint64 problem, const char *text);

/* Set INVALID, "the agent's answer is malformed", and end the conversation. Returns FALSE. */
gboolean agent_malformed(LodgeAgent *agent, GError **error);

/* Ask and wait for RESULT, whose fields go to @out_fields (may be NULL). Others before it are
 * malformed. */
gboolean agent_ask(LodgeAgent *agent, guint8 type, const AgentRequest *request, gint64 deadline,
                   FieldReader *out_fields, GError **error);

/* A text field as a printable string; NULL if it is empty. g_free it. */
char *agent_field_text(const Field *field);

/* From the fields of ADDRESSES and INFO. NULL with INVALID if they are malformed. */
GPtrArray *agent_parse_nics(FieldReader *fields, GError **error);
LodgeAgentInfo *agent_parse_info(FieldReader *fields, GError **error);
