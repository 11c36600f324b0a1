/* Theory of operation: the kernel knows which pages QEMU has of its own.
 *
 * /proc/PID/pagemap tells, page by page, whether QEMU's mapping has a page there, and whether that
 * is its own or the mapped file's. Of a copy's memory, the file is what it began with, and cannot
 * have changed; own pages are what it wrote since. So of the file only what holds data is read, and
 * of QEMU only own pages: what neither has is zeroes. That matters: a file in memory gets a page
 * wherever somebody reads a hole of it by a mapping, as QEMU does when it migrates.
 *
 * It asks QEMU for nothing, and does not rely on what QEMU believes to have been written. */
#include "config.h"

#include "qemu/memory-copy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/base.h"

enum {
    PAGE_BYTES = 4096,
    STEP_PAGES = 64, /* are read at once: they stay in the processor's cache until compared */
    ENTRY_PAGES = 8192,
    MAPS_LIMIT_BYTES = 16 << 20,
};

#define ENTRY_PRESENT (G_GUINT64_CONSTANT(1) << 63)
#define ENTRY_SWAPPED (G_GUINT64_CONSTANT(1) << 62)
#define ENTRY_FILE (G_GUINT64_CONSTANT(1) << 61)

/* Where the file's page comes from. */
typedef enum {
    FROM_NOWHERE = 0, /* a hole, or never looked at */
    FROM_BASE,
    FROM_OWN,
    FROM_OWN_EMPTY, /* zeroes, so a hole here too */
} From;

struct LodgeMemoryCopy {
    LodgeMemoryArea area;
    gsize page_count;
    int entries_fd; /* /proc/PID/pagemap */
    int base_fd;    /* what is mapped; -1: nothing */
    gboolean has_base;
    guint8 *target; /* to_fd, mapped */
    guint8 *from;   /* From, of each page */
    guint64 *entries;
    guint8 *buffer;
};

/* --- What QEMU has there ---------------------------------------------------------------------- */

typedef struct {
    guint64 begin, end, offset;
    char access[5];
    guint major, minor;
    guint64 inode;
} Mapping;

static gboolean
parse_mapping(const char *line, Mapping *mapping)
{
    return sscanf(line,
                  "%" G_GINT64_MODIFIER "x-%" G_GINT64_MODIFIER "x %4s %" G_GINT64_MODIFIER
                  "x %x:%x %" G_GUINT64_FORMAT,
                  &mapping->begin, &mapping->end, mapping->access, &mapping->offset,
                  &mapping->major, &mapping->minor, &mapping->inode) == 7;
}

static gboolean
find_mapping(const LodgeMemoryArea *area, Mapping *mapping, GError **error)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/maps", (int)area->pid);
    g_autofree char *text = lodge_file_read(path, MAPS_LIMIT_BYTES, NULL, error);
    g_auto(GStrv) lines = text != NULL ? g_strsplit(text, "\n", -1) : NULL;
    for (gsize i = 0; lines != NULL && lines[i] != NULL; i++) {
        if (parse_mapping(lines[i], mapping) && mapping->begin <= area->address &&
            area->address < mapping->end) {
            return (mapping->access[3] == 'p' &&
                    area->size_bytes <= mapping->end - area->address) ||
                   lodge_error_set(error, LODGE_ERROR_UNSUPPORTED, "QEMU shares that memory");
        }
    }
    return text != NULL &&
           lodge_error_set(error, LODGE_ERROR_UNSUPPORTED, "QEMU has no memory there");
}

static gboolean
is_mapped(const struct stat *info, const Mapping *mapping)
{
    return S_ISREG(info->st_mode) && info->st_ino == mapping->inode &&
           major(info->st_dev) == mapping->major && minor(info->st_dev) == mapping->minor;
}

/* QEMU has the file open, too. What it maps it may read; what else it could put in that place,
 * while we look, it may not. */
static int
open_base(const LodgeMemoryArea *area, const Mapping *mapping, GError **error)
{
    g_autofree char *folder = g_strdup_printf("/proc/%d/fd", (int)area->pid);
    g_auto(GStrv) names = lodge_dir_names(folder, error);
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        struct stat info;
        g_autofree char *path = g_build_filename(folder, names[i], NULL);
        if (stat(path, &info) < 0 || !is_mapped(&info, mapping)) {
            continue;
        }
        lodge_autofd fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0) {
            lodge_error_set(error, LODGE_ERROR_UNSUPPORTED, "%s: %s", path, g_strerror(errno));
            return -1;
        }
        if (fstat(fd, &info) == 0 && is_mapped(&info, mapping)) {
            return lodge_fd_steal(&fd);
        }
    }
    if (names != NULL) {
        lodge_error_set(error, LODGE_ERROR_UNSUPPORTED, "QEMU has closed its memory's file");
    }
    return -1;
}

/* Yama, a lack of capabilities, or a security module may forbid it. */
static gboolean
read_own(const LodgeMemoryCopy *copy, gsize page, gsize count, GError **error)
{
    gsize wanted = count * PAGE_BYTES;
    struct iovec to = {copy->buffer, wanted};
    struct iovec from = {(void *)(guintptr)(copy->area.address + page * PAGE_BYTES), wanted};
    gssize got = process_vm_readv(copy->area.pid, &to, 1, &from, 1, 0);
    if (got < 0 && errno == EPERM) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "this system lets nobody look into QEMU's memory");
    }
    return got == (gssize)wanted ||
           lodge_error_errno(error, got < 0 ? errno : EIO, "QEMU's memory");
}

static gboolean
prepare(LodgeMemoryCopy *copy, GError **error)
{
    Mapping mapping = {0};
    const LodgeMemoryArea *area = &copy->area;
    g_autofree char *path = g_strdup_printf("/proc/%d/pagemap", (int)area->pid);
    if (!find_mapping(area, &mapping, error)) {
        return FALSE;
    }
    if (mapping.inode != 0) {
        if (mapping.offset != 0 || mapping.begin != area->address) {
            return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED, "QEMU maps a part of a file");
        }
        copy->base_fd = open_base(area, &mapping, error);
        if (copy->base_fd < 0) {
            return FALSE;
        }
    }
    copy->entries_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (copy->entries_fd < 0) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED, "%s: %s", path, g_strerror(errno));
    }
    copy->target = mmap(NULL, area->size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, area->to_fd, 0);
    if (copy->target == MAP_FAILED) {
        copy->target = NULL;
        return lodge_error_errno(error, errno, "a place for memory");
    }
    copy->page_count = area->size_bytes / PAGE_BYTES;
    copy->from = g_malloc0(copy->page_count);
    copy->entries = g_new(guint64, ENTRY_PAGES);
    copy->buffer = g_malloc((gsize)STEP_PAGES * PAGE_BYTES);
    return read_own(copy, 0, 1, error);
}

LodgeMemoryCopy *
lodge_memory_copy_new(const LodgeMemoryArea *area, GError **error)
{
    g_autoptr(LodgeMemoryCopy) copy = g_new0(LodgeMemoryCopy, 1);
    copy->area = *area;
    copy->entries_fd = copy->base_fd = -1;
    return prepare(copy, error) ? g_steal_pointer(&copy) : NULL;
}

void
lodge_memory_copy_free(LodgeMemoryCopy *copy)
{
    if (copy != NULL) {
        if (copy->target != NULL) {
            munmap(copy->target, copy->area.size_bytes);
        }
        lodge_fd_clear(&copy->entries_fd);
        lodge_fd_clear(&copy->base_fd);
        g_free(copy->from);
        g_free(copy->entries);
        g_free(copy->buffer);
        g_free(copy);
    }
}

static gboolean
read_entries(const LodgeMemoryCopy *copy, gsize page, gsize count, GError **error)
{
    gsize wanted = count * sizeof *copy->entries;
    off_t at = (off_t)((copy->area.address / PAGE_BYTES + page) * sizeof *copy->entries);
    gssize got = pread(copy->entries_fd, copy->entries, wanted, at);
    return got == (gssize)wanted ||
           lodge_error_set(error, LODGE_ERROR_FAILED, "QEMU's memory: it has ended");
}

static gboolean
is_own(guint64 entry)
{
    return (entry & ENTRY_SWAPPED) != 0 ||
           ((entry & ENTRY_PRESENT) != 0 && (entry & ENTRY_FILE) == 0);
}

gboolean
lodge_memory_copy_own_bytes(LodgeMemoryCopy *copy, guint64 *out_bytes, GError **error)
{
    *out_bytes = 0;
    for (gsize page = 0; page < copy->page_count; page += ENTRY_PAGES) {
        gsize count = MIN((gsize)ENTRY_PAGES, copy->page_count - page);
        if (!read_entries(copy, page, count, error)) {
            return FALSE;
        }
        for (gsize i = 0; i < count; i++) {
            *out_bytes += is_own(copy->entries[i]) ? PAGE_BYTES : 0;
        }
    }
    return TRUE;
}

/* --- Bringing it over ------------------------------------------------------------------------- */

static gboolean
is_zero(const guint8 *data)
{
    return data[0] == 0 && memcmp(data, data + 1, PAGE_BYTES - 1) == 0;
}

/* Writing by the descriptor is quicker than a fault, where there is no page yet, and tells when
 * there is no memory for it. */
static gboolean
place(LodgeMemoryCopy *copy, gsize page, const guint8 *data, From from, GError **error)
{
    From was = (From)copy->from[page];
    if (was == FROM_NOWHERE || was == FROM_OWN_EMPTY) {
        if (is_zero(data)) {
            copy->from[page] = from == FROM_OWN ? FROM_OWN_EMPTY : FROM_NOWHERE;
            return TRUE;
        }
    } else if (memcmp(copy->target + page * PAGE_BYTES, data, PAGE_BYTES) == 0) {
        copy->from[page] = (guint8)from;
        return TRUE;
    }
    copy->from[page] = (guint8)from;
    gssize put = pwrite(copy->area.to_fd, data, PAGE_BYTES, (off_t)(page * PAGE_BYTES));
    return put == PAGE_BYTES || lodge_error_errno(error, put < 0 ? errno : ENOSPC, "memory");
}

static gboolean
bring_own(LodgeMemoryCopy *copy, gsize page, gsize count, GError **error)
{
    if (!read_own(copy, page, count, error)) {
        return FALSE;
    }
    for (gsize i = 0; i < count; i++) {
        if (!place(copy, page + i, copy->buffer + i * PAGE_BYTES, FROM_OWN, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* What was written since, and given up: it is again as the file has it. */
static gboolean
bring_base_page(LodgeMemoryCopy *copy, gsize page, GError **error)
{
    memset(copy->buffer, 0, PAGE_BYTES);
    if (copy->base_fd >= 0 &&
        pread(copy->base_fd, copy->buffer, PAGE_BYTES, (off_t)(page * PAGE_BYTES)) < 0) {
        return lodge_error_errno(error, errno, "memory's file");
    }
    return place(copy, page, copy->buffer, FROM_BASE, error);
}

static gboolean
bring_pages(LodgeMemoryCopy *copy, gsize page, gsize count, GError **error)
{
    for (gsize i = 0; i < count;) {
        gsize run = 0;
        while (run < STEP_PAGES && i + run < count && is_own(copy->entries[i + run])) {
            run++;
        }
        From was = (From)copy->from[page + i];
        gboolean fine = run > 0 ? bring_own(copy, page + i, run, error)
                                : (was != FROM_OWN && was != FROM_OWN_EMPTY) ||
                                      bring_base_page(copy, page + i, error);
        if (!fine) {
            return FALSE;
        }
        i += MAX(run, 1);
    }
    return TRUE;
}

/* All that the file holds, first: QEMU's own pages go above it. */
static gboolean
bring_base(LodgeMemoryCopy *copy, GError **error)
{
    off_t size = (off_t)copy->area.size_bytes;
    for (off_t at = 0; at < size;) {
        off_t begin = lseek(copy->base_fd, at, SEEK_DATA);
        off_t end = begin >= 0 ? lseek(copy->base_fd, begin, SEEK_HOLE) : -1;
        if (begin < 0 && errno == ENXIO) {
            return TRUE;
        }
        if (end < 0 || !lodge_interrupt_check(error)) {
            return end >= 0 ? FALSE : lodge_error_errno(error, errno, "memory's file");
        }
        begin -= begin % PAGE_BYTES;
        end = MIN(end, MIN(size, begin + (off_t)STEP_PAGES * PAGE_BYTES));
        gssize got = pread(copy->base_fd, copy->buffer, (gsize)(end - begin), begin);
        if (got <= 0) {
            return lodge_error_errno(error, got < 0 ? errno : EIO, "memory's file");
        }
        memset(copy->buffer + got, 0, (gsize)(-got) % PAGE_BYTES);
        for (gssize i = 0; i < got; i += PAGE_BYTES) {
            if (!place(copy, (gsize)(begin + i) / PAGE_BYTES, copy->buffer + i, FROM_BASE, error)) {
                return FALSE;
            }
        }
        at = begin + (got + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
    }
    return TRUE;
}

gboolean
lodge_memory_copy_bring(LodgeMemoryCopy *copy, GError **error)
{
    if (copy->base_fd >= 0 && !copy->has_base) {
        if (!bring_base(copy, error)) {
            return FALSE;
        }
        copy->has_base = TRUE;
    }
    for (gsize page = 0; page < copy->page_count; page += ENTRY_PAGES) {
        gsize count = MIN((gsize)ENTRY_PAGES, copy->page_count - page);
        if (!lodge_interrupt_check(error) || !read_entries(copy, page, count, error) ||
            !bring_pages(copy, page, count, error)) {
            return FALSE;
        }
    }
    return TRUE;
}
