/* Keeping a program that reads foreign files from all others, by the kernel's Landlock
 * (Linux 5.13). Private to this layer: LodgeProcess has it as `only`. */
#pragma once

#include <glib.h>

/* A descriptor of what a process may open: the files and what is below the folders at @paths, as
 * they are now (NULL-terminated; one that can't be opened is left out), and where @program and the
 * system's programs and libraries are. -1, without error, where the kernel has no Landlock. */
int lodge_confine_prepare(const char *program, const char *const *paths);

/* Hold the calling process, and what it executes, to that. May be called between fork and exec.
 * FALSE with errno. */
gboolean lodge_confine_enter(int ruleset_fd);
