/* Running other programs to their end, with their output, a deadline, and no shell. */
#pragma once

#include <glib.h>

typedef void (*LodgeLineFunc)(const char *line, gpointer data);

typedef struct {
    const char *const *argv;        /* NULL-terminated; argv[0] is looked up in PATH */
    const char *const *environment; /* "NAME=VALUE" to set besides the own ones; may be NULL */
    const char *folder;             /* where it runs; NULL: here */
    const char *input;              /* what it reads on standard input; NULL: nothing */
    const char *const *only;     /* files and folders: besides these, as they are now, and programs
                                    and libraries it can open nothing, where the kernel has
                                    Landlock (5.13); NULL: no limit */
    gint64 timeout_ms;           /* 0: none */
    LodgeLineFunc on_line;       /* called with each line of standard output as it comes */
    LodgeLineFunc on_error_line; /* the same for standard error */
    gpointer data;               /* handed to both */
} LodgeProcess;

/* Run it. It gets a process group of its own; at the deadline, or when a signal interrupts us, the
 * group is sent SIGTERM, then SIGKILL; should we die, the program is sent SIGTERM. Its standard
 * output (the last 16 MiB are kept) goes to @out_output, free with g_free; may be NULL. TRUE only
 * if it exited with status 0.
 * Errors: UNSUPPORTED if there is no such program; FAILED with the last line it wrote to standard
 * error; TIMEOUT; INTERRUPTED. */
gboolean lodge_process_run(const LodgeProcess *process, char **out_output, GError **error);

/* The short form: argv, no input, a deadline. */
gboolean lodge_process_run_argv(const char *const *argv, gint64 timeout_ms, char **out_output,
                                GError **error);

/* Is there such a program in PATH or in the system's sbin folders (which an ordinary user's PATH
 * often lacks)? Its path, free with g_free; NULL if not. */
char *lodge_program_find(const char *name);

/* A program or data file that comes with Lodge. Run uninstalled, from below a build folder, it is
 * found there; installed, below @installed_folder. Free with g_free; it may not exist. */
char *lodge_program_own(const char *name, const char *installed_folder);
