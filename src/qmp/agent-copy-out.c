/* Theory of operation: a tree out of the guest, which may be hostile.
 *
 * The guest sends names below what was asked for. Each is taken apart and walked from the target
 * folder's descriptor, one component at a time, never through a symbolic link, so no name can lead
 * out of it. Folders are made as they come; files are written beside their place and renamed when
 * they are whole. Symbolic links are made only if they can't lead out: no absolute ones, and ".."
 * only in front, no more than the link lies deep. Devices, pipes and sockets are never made. Of
 * modes, the nine permission bits are kept. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "qmp/agent-copy.h"

enum {
    PATH_AT_MOST = 4096,
    COMPONENTS_AT_MOST = 256,
};

typedef struct {
    char *path; /* below the target, "" for itself */
    guint64 kind;
    guint64 mode;
    guint64 mtime_ns;
    char *link_target;
} Item;

typedef struct {
    Copying copying;
    int base_fd;     /* the folder that the target stands in */
    char *name;      /* the target's name there */
    Item item;       /* the file that is being written */
    int parent_fd;   /* its folder */
    char *file_name; /* its name there */
    char *beside;    /* and for now */
    int file_fd;     /* -1: none */
} Tree;

static void
item_clear(Item *item)
{
    g_clear_pointer(&item->path, g_free);
    g_clear_pointer(&item->link_target, g_free);
}

static char *
raw_text(const Field *field)
{
    if (field->length >= PATH_AT_MOST || memchr(field->value, '\0', field->length) != NULL) {
        return NULL;
    }
    return g_strndup((const char *)field->value, field->length);
}

static gboolean
item_parse(const AgentFrame *frame, Item *item)
{
    FieldReader fields = {frame->payload, frame->length};
    Field field;
    int got;
    gboolean fine = TRUE;
    *item = (Item){0};
    while (fine && (got = field_next(&fields, &field)) > 0) {
        if (field.tag == FIELD_PATH) {
            g_free(item->path);
            item->path = raw_text(&field);
            fine = item->path != NULL;
        } else if (field.tag == FIELD_TARGET) {
            g_free(item->link_target);
            item->link_target = raw_text(&field);
            fine = item->link_target != NULL;
        } else if (field.tag == FIELD_KIND) {
            fine = field_number(&field, &item->kind);
        } else if (field.tag == FIELD_MODE) {
            fine = field_number(&field, &item->mode);
        } else if (field.tag == FIELD_MTIME) {
            fine = field_number(&field, &item->mtime_ns);
        }
    }
    return fine && item->path != NULL && (item->kind != KIND_SYMLINK || item->link_target != NULL);
}

/* The components of a name below the target; NULL if it is none that may be. */
static char **
components_of(const char *path)
{
    g_auto(GStrv) parts = g_strsplit(path, "/", COMPONENTS_AT_MOST + 1);
    guint count = g_strv_length(parts);
    for (guint i = 0; i < count; i++) {
        gsize length = strlen(parts[i]);
        if (length == 0 || length > NAME_MAX || g_str_equal(parts[i], ".") ||
            g_str_equal(parts[i], "..")) {
            return NULL;
        }
    }
    return count <= COMPONENTS_AT_MOST ? g_steal_pointer(&parts) : NULL;
}

/* Open the folder that @item stands in, and say by which name. -1 on error. */
static int
open_parent(const Tree *tree, const Item *item, char **out_name, guint *out_depth, GError **error)
{
    lodge_autofd fd = fcntl(tree->base_fd, F_DUPFD_CLOEXEC, 3);
    *out_depth = 0;
    if (*item->path == '\0') {
        *out_name = g_strdup(tree->name);
        return lodge_fd_steal(&fd);
    }
    g_auto(GStrv) parts = components_of(item->path);
    if (parts == NULL) {
        lodge_error_set(error, LODGE_ERROR_INVALID, "the guest sends a name that is none");
        return -1;
    }
    const char *next = tree->name;
    for (guint i = 0; parts[i] != NULL; i++) {
        int deeper = openat(fd, next, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (deeper < 0) {
            g_autofree char *shown = lodge_text_printable(next);
            lodge_error_errno(error, errno, "%s", shown);
            return -1;
        }
        lodge_fd_clear(&fd);
        fd = deeper;
        next = parts[i];
        *out_depth = i;
    }
    *out_name = g_strdup(next);
    return lodge_fd_steal(&fd);
}

/* Can a link that lies @depth folders below the target only lead into it? */
static gboolean
stays_inside(const char *target, guint depth)
{
    g_auto(GStrv) parts = g_strsplit(target, "/", COMPONENTS_AT_MOST + 1);
    guint up = 0;
    if (*target == '/' || *target == '\0' || g_strv_length(parts) > COMPONENTS_AT_MOST) {
        return FALSE;
    }
    for (guint i = 0; parts[i] != NULL; i++) {
        if (g_str_equal(parts[i], "..")) {
            if (up != i) {
                return FALSE; /* behind a name, it depends on what that is */
            }
            up++;
        }
    }
    return up <= depth;
}

static gboolean
make_folder(int parent_fd, const char *name, const Item *item, GError **error)
{
    struct stat about;
    mode_t mode = (mode_t)((item->mode & 0777) | 0700);
    if (mkdirat(parent_fd, name, 0700) == 0) {
        return fchmodat(parent_fd, name, mode, 0) == 0 ||
               lodge_error_errno(error, errno, "Making a folder");
    }
    int saved_errno = errno;
    if (saved_errno == EEXIST && fstatat(parent_fd, name, &about, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISDIR(about.st_mode)) {
        return TRUE;
    }
    g_autofree char *shown = lodge_text_printable(name);
    return lodge_error_errno(error, saved_errno, "%s", shown);
}

static gboolean
make_symlink(Tree *tree, int parent_fd, const char *name, const Item *item, guint depth,
             GError **error)
{
    if (*item->path == '\0' || !stays_inside(item->link_target, depth)) {
        tree->copying.copy->out_skipped++;
        return TRUE;
    }
    g_autofree char *beside = g_strdup_printf(".lodge-%08x%08x", g_random_int(), g_random_int());
    if (symlinkat(item->link_target, parent_fd, beside) < 0 ||
        renameat(parent_fd, beside, parent_fd, name) < 0) {
        int saved_errno = errno;
        unlinkat(parent_fd, beside, 0);
        g_autofree char *shown = lodge_text_printable(name);
        return lodge_error_errno(error, saved_errno, "%s", shown);
    }
    return TRUE;
}

static gboolean
begin_file(Tree *tree, int *parent_fd, char **name, Item *item, GError **error)
{
    tree->beside = g_strdup_printf(".lodge-%08x%08x", g_random_int(), g_random_int());
    tree->file_fd = openat(*parent_fd, tree->beside,
                           O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (tree->file_fd < 0) {
        lodge_error_errno(error, errno, "Making a file");
        g_clear_pointer(&tree->beside, g_free);
        return FALSE;
    }
    tree->parent_fd = lodge_fd_steal(parent_fd);
    tree->file_name = g_steal_pointer(name);
    tree->item = *item;
    *item = (Item){0};
    return TRUE;
}

static void
drop_file(Tree *tree)
{
    if (tree->beside != NULL) {
        unlinkat(tree->parent_fd, tree->beside, 0);
    }
    g_clear_pointer(&tree->beside, g_free);
    g_clear_pointer(&tree->file_name, g_free);
    lodge_fd_clear(&tree->file_fd);
    lodge_fd_clear(&tree->parent_fd);
    item_clear(&tree->item);
}

static gboolean
finish_file(Tree *tree, GError **error)
{
    guint64 mtime = tree->item.mtime_ns;
    struct timespec times[2] = {
        {.tv_nsec = UTIME_NOW},
        {.tv_sec = (time_t)(mtime / 1000000000), .tv_nsec = (long)(mtime % 1000000000)},
    };
    futimens(tree->file_fd, times); /* a time that can't be is no reason to fail */
    if (fchmod(tree->file_fd, (mode_t)(tree->item.mode & 0777)) < 0 ||
        (tree->copying.copy->sync && fsync(tree->file_fd) < 0) ||
        renameat(tree->parent_fd, tree->beside, tree->parent_fd, tree->file_name) < 0) {
        g_autofree char *shown = lodge_text_printable(tree->file_name);
        return lodge_error_errno(error, errno, "%s", shown);
    }
    g_clear_pointer(&tree->beside, g_free);
    drop_file(tree);
    tree->copying.copy->out_files++;
    return TRUE;
}

static gboolean
take_item(Tree *tree, const AgentFrame *frame, GError **error)
{
    Item item;
    g_autofree char *name = NULL;
    guint depth = 0;
    if (!item_parse(frame, &item) || tree->file_fd >= 0) {
        item_clear(&item);
        return agent_malformed(tree->copying.agent, error);
    }
    lodge_autofd parent_fd = open_parent(tree, &item, &name, &depth, error);
    gboolean fine = parent_fd >= 0;
    if (fine) {
        switch (item.kind) {
        case KIND_FILE:
            fine = begin_file(tree, &parent_fd, &name, &item, error);
            break;
        case KIND_FOLDER:
            fine = make_folder(parent_fd, name, &item, error);
            break;
        case KIND_SYMLINK:
            fine = make_symlink(tree, parent_fd, name, &item, depth, error);
            break;
        default: /* a device, or the guest's fancy */
            tree->copying.copy->out_skipped++;
            break;
        }
    }
    item_clear(&item);
    return fine;
}

static gboolean
take_data(Tree *tree, const AgentFrame *frame, GError **error)
{
    const guint8 *bytes = frame->payload;
    gsize length = frame->length;
    if (tree->file_fd < 0) {
        return agent_malformed(tree->copying.agent, error);
    }
    while (length > 0) {
        gssize count = write(tree->file_fd, bytes, length);
        if (count < 0 && errno != EINTR) {
            return lodge_error_errno(error, errno, "Writing what was copied");
        }
        bytes += MAX(count, 0);
        length -= (gsize)MAX(count, 0);
    }
    copying_progress(&tree->copying, frame->length, tree->item.path);
    return TRUE;
}

static gboolean
take_frame(Tree *tree, const AgentFrame *frame, GError **error)
{
    switch (frame->type) {
    case FRAME_ITEM:
        return take_item(tree, frame, error);
    case FRAME_DATA:
        return take_data(tree, frame, error);
    case FRAME_DATA_END:
        return tree->file_fd >= 0 ? finish_file(tree, error)
                                  : agent_malformed(tree->copying.agent, error);
    case FRAME_RESULT:
        return tree->file_fd < 0 || agent_malformed(tree->copying.agent, error);
    default: /* a guest's byte */
        return agent_malformed(tree->copying.agent, error);
    }
}

static gboolean
receive_tree(Tree *tree, const char *guest_path, GError **error)
{
    LodgeAgent *agent = tree->copying.agent;
    AgentFrame frame = {0};
    g_autoptr(GByteArray) request = copying_request(guest_path);
    agent_add_number(request, FIELD_FLAGS, GET_TREE);
    if (!agent_request(agent, FRAME_GET, request, error)) {
        return FALSE;
    }
    while (frame.type != FRAME_RESULT) {
        if (!agent_receive(agent, copying_deadline(&tree->copying), &frame, error) ||
            !agent_check(&frame, error)) {
            return FALSE;
        }
        if (!take_frame(tree, &frame, error) || !lodge_interrupt_check(error)) {
            agent->is_over = TRUE; /* the guest sends on */
            return FALSE;
        }
    }
    return TRUE;
}

/* As `cp` does: into a folder that is there, under the guest's name for it. */
static gboolean
open_target(Tree *tree, const char *guest_path, const char *host_path, GError **error)
{
    g_autofree char *folder = NULL;
    if (g_file_test(host_path, G_FILE_TEST_IS_DIR)) {
        folder = g_strdup(host_path);
        tree->name = g_path_get_basename(guest_path);
    } else {
        folder = g_path_get_dirname(host_path);
        tree->name = g_path_get_basename(host_path);
    }
    if (g_str_equal(tree->name, "/") || g_str_equal(tree->name, ".") ||
        g_str_equal(tree->name, "..")) {
        return lodge_error_set(error, LODGE_ERROR_INVALID, "%s: name what it shall become",
                               host_path);
    }
    tree->base_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return tree->base_fd >= 0 || lodge_error_errno(error, errno, "%s", folder);
}

gboolean
lodge_agent_copy_out(LodgeAgent *agent, const char *guest_path, const char *host_path,
                     LodgeAgentCopy *copy, GError **error)
{
    Tree tree = {.base_fd = -1, .parent_fd = -1, .file_fd = -1};
    copying_begin(&tree.copying, agent, copy);
    gboolean fine = open_target(&tree, guest_path, host_path, error) &&
                    receive_tree(&tree, guest_path, error);
    drop_file(&tree);
    lodge_fd_clear(&tree.base_fd);
    g_free(tree.name);
    return fine || lodge_error_prefix(error, "Copying out of the guest");
}
