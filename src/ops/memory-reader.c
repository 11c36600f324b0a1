/* Theory of operation: who reads need not be QEMU.
 *
 * QEMU says where its blocks of memory are. A child of ours copies them while the guest runs; then
 * the guest stands still, and the child looks at them again, and writes what differs, while QEMU
 * says its devices' state (xen-save-devices-state, which is nothing of Xen's but the name). So the
 * guest stands still for looking at what it has in memory, not for copying it; and what was written
 * meanwhile is seen, however it was written.
 *
 * Blocks that a machine makes of its command line (firmware, tables) are not read: a QEMU that
 * reads the state has made the same. */
#include "config.h"

#include "ops/memory-reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "qemu/memory-copy.h"
#include "qemu/memory-stream.h"

enum {
    CONFIRM_MS = 60000,
    HURRY = -10,
    KVM_LIMIT_BYTES = 256 << 20,
    /* Of a device's own: a screen has 512 MiB at most. QEMU could be the guest's by now. */
    DEVICE_LIMIT_BYTES = 1 << 30,
};

typedef struct {
    char *name;
    guint64 size_bytes;
    int fd; /* -1: not ours */
    int own_fd;
    LodgeMemoryCopy *copy;
} ReaderBlock;

static void
block_free(gpointer data)
{
    ReaderBlock *block = data;
    g_free(block->name);
    lodge_fd_clear(&block->own_fd);
    lodge_memory_copy_free(block->copy);
    g_free(block);
}

void
memory_reader_clear(MemoryReader *reader)
{
    g_clear_pointer(&reader->child, lodge_child_free);
    g_clear_pointer(&reader->blocks, g_ptr_array_unref);
    g_clear_pointer(&reader->machine, g_free);
    lodge_fd_clear(&reader->news_fd);
    lodge_fd_clear(&reader->go_fd);
    lodge_fd_clear(&reader->state_fd);
}

/* --- Where it is ------------------------------------------------------------------------------ */

/* What only the monitor for people tells. Free with g_free. */
static char *
tell(const Hotplug *hotplug, const char *command, GError **error)
{
    g_autoptr(json_t)
        text = lodge_qmp_ask(hotplug->qmp, hotplug->deadline, error, "human-monitor-command",
                             "{s:s}", "command-line", command);
    return text != NULL ? g_strdup(json_is_string(text) ? json_string_value(text) : "") : NULL;
}

static gboolean
is_made_anew(const char *name)
{
    static const char *const made[] = {"pc.bios", "pc.rom", "system.flash0", "system.flash1"};
    for (gsize i = 0; i < G_N_ELEMENTS(made); i++) {
        if (g_str_equal(name, made[i])) {
            return TRUE;
        }
    }
    return g_str_has_prefix(name, "/rom@") || g_str_has_suffix(name, ".rom");
}

/* Where a guest has it: "  00000000fb000000-00000000fbffffff (prio 1, ram): vga.vram". */
static gboolean
find_in_guest(const char *map, const ReaderBlock *block, guint64 *out_place)
{
    const char *slash = strrchr(block->name, '/');
    g_autofree char *ending = g_strconcat("): ", slash != NULL ? slash + 1 : block->name, NULL);
    g_auto(GStrv) lines = g_strsplit(map, "\n", -1);
    for (gsize i = 0; lines[i] != NULL; i++) {
        guint64 end = 0;
        g_autofree char *line = g_strdup(g_strstrip(lines[i]));
        if (g_str_has_suffix(line, " KVM")) {
            line[strlen(line) - 4] = '\0';
        }
        if (g_str_has_suffix(line, ending) &&
            sscanf(line, "%" G_GINT64_MODIFIER "x-%" G_GINT64_MODIFIER "x", out_place, &end) == 2 &&
            end - *out_place + 1 == block->size_bytes) {
            return TRUE;
        }
    }
    return FALSE;
}

/* And where that is in QEMU. */
static gboolean
find_address(const Hotplug *hotplug, const ReaderBlock *block, guint64 place, guint64 *out_address,
             GError **error)
{
    const char *slash = strrchr(block->name, '/');
    g_autofree char *command = g_strdup_printf("gpa2hva 0x%" G_GINT64_MODIFIER "x", place);
    g_autofree char *name = g_strdup_printf("(%s) is 0x", slash != NULL ? slash + 1 : block->name);
    g_autofree char *text = tell(hotplug, command, error);
    const char *found = text != NULL ? strstr(text, name) : NULL;
    *out_address = found != NULL ? g_ascii_strtoull(found + strlen(name), NULL, 16) : 0;
    return *out_address != 0 ||
           (text != NULL && lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                                            "QEMU does not tell where %s is", block->name));
}

static gboolean
open_block(const MemoryReader *reader, const Session *session, ReaderBlock *block, guint64 place,
           GError **error)
{
    LodgeMemoryArea area = {.pid = session->state->qemu_pid, .size_bytes = block->size_bytes};
    if (block->fd < 0) {
        block->own_fd = block->fd = memfd_create("lodge-block", MFD_CLOEXEC);
        if (block->fd < 0 || ftruncate(block->fd, (off_t)block->size_bytes) < 0) {
            return lodge_error_errno(error, errno, "a place for memory");
        }
    }
    area.to_fd = block->fd;
    if (!find_address(reader->hotplug, block, place, &area.address, error)) {
        return FALSE;
    }
    block->copy = lodge_memory_copy_new(&area, error);
    return block->copy != NULL;
}

static void
add_block(MemoryReader *reader, const char *name, guint64 size_bytes, int fd)
{
    ReaderBlock *block = g_new0(ReaderBlock, 1);
    *block = (ReaderBlock){g_strdup(name), size_bytes, fd, -1, NULL};
    /* The guest's own memory first. */
    g_ptr_array_insert(reader->blocks, fd >= 0 ? 0 : -1, block);
}

/* "ram  4 KiB  0x0000000000000000 0x0000000040000000 0x0000000040000000", and maybe more. */
static gboolean
list_blocks(MemoryReader *reader, int memory_fd, GError **error)
{
    g_autofree char *text = tell(reader->hotplug, "info ramblock", error);
    g_auto(GStrv) lines = text != NULL ? g_strsplit(text, "\n", -1) : NULL;
    reader->blocks = g_ptr_array_new_with_free_func(block_free);
    for (gsize i = 0; lines != NULL && lines[i] != NULL; i++) {
        char name[256];
        guint64 size_bytes = 0;
        if (sscanf(lines[i], "%255s %*u %*s 0x%*[0-9a-f] 0x%" G_GINT64_MODIFIER "x", name,
                   &size_bytes) != 2 ||
            is_made_anew(name)) {
            continue;
        }
        gboolean is_memory = g_str_equal(name, "ram") || g_str_equal(name, "/objects/ram");
        /* Its next start may have more or less. */
        if (is_memory && ftruncate(memory_fd, (off_t)size_bytes) < 0) {
            return lodge_error_errno(error, errno, "a place for memory");
        }
        if (!is_memory && size_bytes > DEVICE_LIMIT_BYTES) {
            return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED, "%s is too large", name);
        }
        add_block(reader, name, size_bytes, is_memory ? memory_fd : -1);
    }
    if (text == NULL) {
        return FALSE;
    }
    const ReaderBlock *first = reader->blocks->len > 0 ? reader->blocks->pdata[0] : NULL;
    return (first != NULL && first->fd >= 0) ||
           lodge_error_set(error, LODGE_ERROR_UNSUPPORTED, "QEMU does not tell of its memory");
}

static gboolean
find_machine(MemoryReader *reader, GError **error)
{
    static const char ending[] = "-machine";
    g_autoptr(json_t)
        type = lodge_qmp_ask(reader->hotplug->qmp, reader->hotplug->deadline, error, "qom-get",
                             "{s:s, s:s}", "path", "/machine", "property", "type");
    const char *word = type != NULL && json_is_string(type) ? json_string_value(type) : "";
    reader->machine = g_str_has_suffix(word, ending)
                          ? g_strndup(word, strlen(word) - strlen(ending))
                          : NULL;
    return reader->machine != NULL ||
           (type != NULL && lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                                            "QEMU does not tell which machine it is"));
}

/* What may not be migrated may not be read like this either. */
static gboolean
check_migratable(const Hotplug *hotplug, GError **error)
{
    g_autoptr(json_t)
        report = lodge_qmp_ask(hotplug->qmp, hotplug->deadline, error, "query-migrate", NULL);
    return report != NULL &&
           (json_array_size(json_object_get(report, "blocked-reasons")) == 0 ||
            lodge_error_set(error, LODGE_ERROR_UNSUPPORTED, "QEMU says it can't be migrated"));
}

/* Where QEMU itself knows what is written while the guest runs, looking at much takes longer. */
static gboolean
is_worth_it(const MemoryReader *reader, const Session *session, GError **error)
{
    guint64 bytes = 0;
    const ReaderBlock *memory = reader->blocks->pdata[0];
    return !session->state->is_kvm ||
           (lodge_memory_copy_own_bytes(memory->copy, &bytes, error) &&
            (bytes <= KVM_LIMIT_BYTES ||
             lodge_error_set(error, LODGE_ERROR_UNSUPPORTED, "QEMU is quicker")));
}

gboolean
memory_reader_find(MemoryReader *reader, const Hotplug *hotplug, const Session *session,
                   int memory_fd, GError **error)
{
    reader->hotplug = hotplug;
    if (!check_migratable(hotplug, error) || !find_machine(reader, error) ||
        !list_blocks(reader, memory_fd, error)) {
        return FALSE;
    }
    g_autofree char *map = tell(hotplug, "info mtree -f", error);
    for (guint i = 0; map != NULL && i < reader->blocks->len; i++) {
        guint64 place = 0;
        ReaderBlock *block = reader->blocks->pdata[i];
        if (i > 0 && !find_in_guest(map, block, &place)) {
            return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED, "%s can't be found",
                                   block->name);
        }
        if (!open_block(reader, session, block, place, error)) {
            return FALSE;
        }
    }
    return map != NULL && is_worth_it(reader, session, error);
}

/* --- Reading ---------------------------------------------------------------------------------- */

typedef struct {
    const MemoryReader *reader;
    int tell_fd, hear_fd;
    int other_ends[2];
} Reading;

static gboolean
bring_all(const MemoryReader *reader, GError **error)
{
    for (guint i = 0; i < reader->blocks->len; i++) {
        ReaderBlock *block = reader->blocks->pdata[i];
        if (!lodge_memory_copy_bring(block->copy, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean
read_twice(gpointer data, LodgeProgress *progress, GError **error)
{
    Reading *reading = data;
    char word = '+';
    (void)progress;
    lodge_fd_clear(&reading->other_ends[0]);
    lodge_fd_clear(&reading->other_ends[1]);
    if (!bring_all(reading->reader, error)) {
        return FALSE;
    }
    if (write(reading->tell_fd, &word, 1) != 1 ||
        !lodge_wait_fd(reading->hear_fd, POLLIN, LODGE_NO_DEADLINE, error)) {
        return FALSE;
    }
    setpriority(PRIO_PROCESS, 0, HURRY); /* if we may: a guest stands still for it */
    return read(reading->hear_fd, &word, 1) == 1
               ? bring_all(reading->reader, error)
               : lodge_error_set(error, LODGE_ERROR_FAILED, "it was given up");
}

/* Its end without the word is a failure, which it tells itself. */
static gboolean
await_first(MemoryReader *reader, GError **error)
{
    char word = 0;
    if (!lodge_wait_fd(reader->news_fd, POLLIN, LODGE_NO_DEADLINE, error)) {
        return FALSE;
    }
    return read(reader->news_fd, &word, 1) == 1 || memory_reader_await(reader, error);
}

gboolean
memory_reader_read(MemoryReader *reader, GError **error)
{
    int news[2], go[2];
    if (pipe2(news, O_CLOEXEC) < 0) {
        return lodge_error_errno(error, errno, "a pipe");
    }
    reader->news_fd = news[0];
    lodge_autofd news_end = news[1];
    if (pipe2(go, O_CLOEXEC) < 0) {
        return lodge_error_errno(error, errno, "a pipe");
    }
    reader->go_fd = go[1];
    lodge_autofd go_end = go[0];
    Reading reading = {reader, news_end, go_end, {reader->news_fd, reader->go_fd}};
    reader->child = lodge_child_begin(read_twice, &reading, error);
    lodge_fd_clear(&news_end);
    return reader->child != NULL && await_first(reader, error);
}

gboolean
memory_reader_read_rest(MemoryReader *reader, GError **error)
{
    return write(reader->go_fd, "+", 1) == 1 || lodge_error_errno(error, errno, "memory");
}

gboolean
memory_reader_await(MemoryReader *reader, GError **error)
{
    return lodge_child_end(reader->child, error) || lodge_error_prefix(error, "memory");
}

gboolean
memory_reader_ask_devices(MemoryReader *reader, GError **error)
{
    const Hotplug *hotplug = reader->hotplug;
    reader->state_fd = memfd_create("lodge-devices", MFD_CLOEXEC);
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", reader->state_fd);
    lodge_autofd fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return lodge_error_errno(error, errno, "a place for devices' state");
    }
    g_autoptr(json_t)
        set = lodge_qmp_call_fd(hotplug->qmp, "add-fd", NULL, fd, hotplug->deadline, error);
    if (set == NULL) {
        return FALSE;
    }
    json_int_t number = lodge_json_int(set, "fdset-id", -1);
    g_autofree char *name = g_strdup_printf("/dev/fdset/%d", (int)number);
    gboolean fine = lodge_qmp_run(hotplug->qmp, lodge_deadline_in(CONFIRM_MS), error,
                                  "xen-save-devices-state", "{s:s, s:b}", "filename", name, "live",
                                  0);
    lodge_qmp_run(hotplug->qmp, hotplug->deadline, NULL, "remove-fd", "{s:I}", "fdset-id", number);
    return fine;
}

gboolean
memory_reader_write(const MemoryReader *reader, int fd, gboolean with_memory, GError **error)
{
    struct stat info;
    guint skipped = with_memory ? 0 : 1;
    g_autofree LodgeMemoryBlock *blocks = g_new0(LodgeMemoryBlock, reader->blocks->len);
    for (guint i = skipped; i < reader->blocks->len; i++) {
        const ReaderBlock *block = reader->blocks->pdata[i];
        blocks[i - skipped] = (LodgeMemoryBlock){block->name, block->fd, block->size_bytes};
    }
    if (fstat(reader->state_fd, &info) < 0) {
        return lodge_error_errno(error, errno, "devices' state");
    }
    g_autofree guint8 *devices = g_malloc((gsize)info.st_size + 1);
    if (pread(reader->state_fd, devices, (gsize)info.st_size, 0) != info.st_size) {
        return lodge_error_errno(error, errno, "devices' state");
    }
    const LodgeMemoryParts parts = {reader->machine, blocks, reader->blocks->len - skipped, devices,
                                    (gsize)info.st_size};
    return lodge_memory_stream_write(fd, &parts, error);
}
