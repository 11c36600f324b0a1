/* Copying: requests sent ahead of their answers, and the bookkeeping of a copy. Private. */
#pragma once

#include "qmp/agent-private.h"

typedef struct {
    LodgeAgent *agent;
    LodgeAgentCopy *copy; /* never NULL */
    LodgeAgentCopy own;   /* where the caller has none */
    guint unanswered;
} Copying;

void copying_begin(Copying *copying, LodgeAgent *agent, LodgeAgentCopy *copy);
gint64 copying_deadline(const Copying *copying);
void copying_progress(Copying *copying, gsize bytes, const char *path);

/* Send what is unsent until less than AGENT_UNSENT_BYTES is, and take answers until no more than
 * @unanswered are awaited. FALSE at the first refusal. */
gboolean copying_drain(Copying *copying, guint unanswered, GError **error);

/* Begin a request about a file of the guest, and send it. */
AgentRequest *copying_request(const char *guest_path);
gboolean copying_send(Copying *copying, guint8 type, const AgentRequest *request, GError **error);

/* PUT what @fd holds. */
typedef struct {
    int fd;
    const char *guest_path;
    int mode;         /* -1: up to the guest */
    guint64 size;     /* as far as is known; 0: it is not */
    guint64 mtime_ns; /* 0: now */
    gint64 uid;       /* -1: up to the guest */
    gint64 gid;
} CopyingFile;
gboolean copying_put(Copying *copying, const CopyingFile *file, GError **error);
