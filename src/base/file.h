/* Files and folders: bounded reads, atomic writes, removal of trees. */
#pragma once

#include <glib.h>
#include <sys/types.h>

typedef enum {
    LODGE_WRITE_DEFAULT = 0,
    LODGE_WRITE_NO_SYNC = 1 << 0, /* skip fsync: for state that a reboot may lose */
} LodgeWriteFlags;

/* Read a regular file of at most @limit_bytes. Returns its bytes with a NUL behind them (free with
 * g_free), and the length without it in @out_length (may be NULL). NULL on error: NOT_FOUND if
 * there is no such file, INVALID if it is too large or not a regular file. Never blocks on a FIFO.
 */
char *lodge_file_read(const char *path, gsize limit_bytes, gsize *out_length, GError **error);

/* Replace @path by @length bytes of @data, by writing a neighbour and renaming it: at every moment
 * the old or the new content is there. @mode is exact, whatever the umask. A writer that is killed
 * may leave the neighbour, “.NAME.new”, which the next one takes. NOT_FOUND if there is no folder.
 */
gboolean lodge_file_write(const char *path, const char *data, gsize length, mode_t mode,
                          LodgeWriteFlags flags, GError **error);

/* Create @path and its missing parents; @mode is for those it makes, exact if root makes them, else
 * less the umask. One that exists is fine. */
gboolean lodge_dir_make(const char *path, mode_t mode, GError **error);

/* Remove a file or a whole tree. Symbolic links are removed, never followed; file systems are not
 * crossed. What is absent already is fine. */
gboolean lodge_tree_remove(const char *path, GError **error);

/* Bytes allocated on disk by a file or a whole tree; 0 for what can't be read. */
guint64 lodge_tree_allocated(const char *path);

/* Free bytes on the file system that holds @path or its nearest existing parent; 0 if unknown. */
guint64 lodge_file_system_free(const char *path);

/* Are @need_bytes free on the file system that holds @path? FAILED if not: "@what takes 3 GiB in
 * /srv, where only 1 GiB is free", with the mend. TRUE where that can't be told. */
gboolean lodge_file_system_check(const char *path, guint64 need_bytes, const char *what,
                                 GError **error);

/* Sorted names in a folder, without those that begin with a dot. An absent folder gives an empty
 * list. Free with g_strfreev. NULL on error. */
char **lodge_dir_names(const char *path, GError **error);

/* Make a Unix stream socket listen at @path, or connect to one. Paths longer than the kernel's 107
 * bytes work. An old socket at @path is replaced. Returns a close-on-exec descriptor, or -1:
 * NOT_FOUND where nothing listens, BUSY where the listener has no room. */
int lodge_unix_listen(const char *path, mode_t mode, GError **error);
int lodge_unix_connect(const char *path, GError **error);
