/* A program that the host wants run: what it asked for, and starting it. Private to exec. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "agent/protocol.h"
#include "agent/users.h"

typedef struct {
    char **argv; /* NULL-terminated, as `variables` */
    char **variables;
    char *folder;
    char *user;
    uint64_t flags;
    uint16_t rows;
    uint16_t columns;
} Program;

/* Where a program that was started can be reached. */
typedef struct {
    pid_t pid; /* leader of its session and process group */
    int input_fd;
    int output_fd;
    int errors_fd;  /* -1 if there is none of its own */
    int failure_fd; /* says StartFailure if the program could not be executed; ends if it was */
} Started;

typedef struct {
    int error_number;
    char stage; /* what failed: 'u'ser, 'f'older, 'p'rogram, 't'erminal */
} StartFailure;

/* From the fields of EXEC. False if they are malformed; clear it in any case. */
bool program_parse(FieldReader *fields, Program *program);
void program_clear(Program *program);

/* False with errno if there is no process or no descriptor for it. */
bool program_start(const Program *program, const User *user, Started *out_started);
