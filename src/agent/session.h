/* A conversation on a session port, in a process of its own. */
#pragma once

#include <sys/types.h>

#include "agent/link.h"

#define AGENT_VERSION LODGE_VERSION

typedef struct {
    Link link;
    pid_t guard_pid; /* the process that keeps file systems frozen, 0: none */
    int guard_fd;
} Session;

/* Serve conversations on @fd until the host hangs up. @signal_fd tells of SIGCHLD and SIGTERM. */
void session_run(int fd, int signal_fd);

/* Queue RESULT with what message_begin() began. */
bool session_result(Session *session);

/* The requests. Each sends one RESULT or FAILED, unless the link is over. */
void exec_request(Session *session, FieldReader *fields);
void put_request(Session *session, FieldReader *fields);
void get_request(Session *session, FieldReader *fields);
void mkdir_request(Session *session, FieldReader *fields);
void symlink_request(Session *session, FieldReader *fields);
void stat_request(Session *session, FieldReader *fields);
void list_request(Session *session, FieldReader *fields);
void identity_request(Session *session, FieldReader *fields);
void freeze_request(Session *session, FieldReader *fields);
void thaw_request(Session *session, FieldReader *fields);
void trim_request(Session *session, FieldReader *fields);
void shutdown_request(Session *session, FieldReader *fields);

/* Thaw what freeze_request() froze, if anything is. */
void session_thaw(Session *session);
