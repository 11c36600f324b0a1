/* Small files of a system seen below a folder ("" for the running one), and its kernel's modules.
 */
#pragma once

#include <glib.h>

/* The path below @sysroot. Free with g_free. */
char *lodge_system_path(const char *sysroot, const char *path);

/* The text of a file of at most 8 MiB without the white space at its end; NULL if it can't be read.
 * Free with g_free. */
char *lodge_system_read(const char *sysroot, const char *path);

/* The same, where nothing is as good as "". */
char *lodge_system_text(const char *sysroot, const char *path);

gboolean lodge_system_exists(const char *sysroot, const char *path);

/* The number that stands in a file, else @fallback. */
gint64 lodge_system_number(const char *sysroot, const char *path, gint64 fallback);

/* Value of the first "Name: value" line in a text like /proc/cpuinfo. Free with g_free; NULL. */
char *lodge_system_field(const char *text, const char *name);

/* Is @word one of the words in @text? */
gboolean lodge_system_has_word(const char *text, const char *word);

/* What kind of container this is ("docker", "lxc", …), or NULL. Free with g_free. */
char *lodge_system_container(const char *sysroot);

typedef enum {
    LODGE_MODULE_UNKNOWN,       /* nothing tells */
    LODGE_MODULE_NOT_BUILT,     /* the kernel was configured without it */
    LODGE_MODULE_NOT_INSTALLED, /* configured as a module whose file isn't there */
    LODGE_MODULE_LOADABLE,      /* its file is there */
    LODGE_MODULE_LOADED,
    LODGE_MODULE_BUILTIN,
} LodgeModuleState;

/* What a kernel has; reads its files when first asked. */
typedef struct LodgeKernel LodgeKernel;

LodgeKernel *lodge_kernel_new(const char *sysroot, const char *release);
void lodge_kernel_free(LodgeKernel *kernel);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeKernel, lodge_kernel_free)

/* @module by either spelling ("kvm-intel", "kvm_intel"). @option is the configuration's word for it
 * without CONFIG_ ("KVM_INTEL"), or NULL. */
LodgeModuleState lodge_kernel_module(LodgeKernel *kernel, const char *module, const char *option);

/* How an option stands in the kernel's configuration: 'y', 'm', 'n'; '?' where there is none to
 * read.
 */
char lodge_kernel_option(LodgeKernel *kernel, const char *option);

/* The release whose modules these are; borrowed. */
const char *lodge_kernel_release(const LodgeKernel *kernel);

/* A program's path including @sysroot; on the running system, as lodge_program_find(). Free with
 * g_free; NULL. */
char *lodge_system_program(const char *sysroot, const char *name);
