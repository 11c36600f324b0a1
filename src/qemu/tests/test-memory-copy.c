#include "config.h"

#include "qemu/memory-copy.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"

enum {
    PAGES = 16384, /* more than are looked at at once */
    PAGE_BYTES = 4096,
};
#define SIZE_BYTES ((gsize)PAGES * PAGE_BYTES)

/* --- Another process, with memory ------------------------------------------------------------- */

typedef struct {
    pid_t pid;
    int say, hear;
    guint8 *memory;
} Other;

static int
make_file(void)
{
    int fd = memfd_create("lodge-test", MFD_CLOEXEC);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, (off_t)SIZE_BYTES), ==, 0);
    return fd;
}

static void
fill(guint8 *memory, guint page, guint8 value)
{
    memset(memory + (gsize)page * PAGE_BYTES, value, PAGE_BYTES);
}

typedef void (*Deed)(guint8 *memory);

static void
live(guint8 *memory, int hear, int say, const Deed *deeds)
{
    char word = 0;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (read(hear, &word, 1) == 1) {
        deeds[(guint)word](memory);
        if (write(say, "+", 1) != 1) {
            break;
        }
    }
    _exit(0);
}

/* It maps @base (-1: nothing) for itself, and does deed N when it is told to. */
static Other
other_begin(int base, const Deed *deeds)
{
    int to[2], from[2];
    g_assert_cmpint(pipe(to) | pipe(from), ==, 0);
    guint8 *memory = mmap(NULL, SIZE_BYTES, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | (base < 0 ? MAP_ANONYMOUS : 0), base, 0);
    g_assert_true(memory != MAP_FAILED);
    pid_t pid = fork();
    if (pid == 0) {
        close(to[1]);
        close(from[0]);
        live(memory, to[0], from[1], deeds);
    }
    close(to[0]);
    close(from[1]);
    return (Other){pid, to[1], from[0], memory};
}

static void
other_do(const Other *other, char deed)
{
    g_assert_cmpint(write(other->say, &deed, 1), ==, 1);
    g_assert_cmpint(read(other->hear, &deed, 1), ==, 1);
}

static void
other_end(Other *other)
{
    close(other->say);
    close(other->hear);
    waitpid(other->pid, NULL, 0);
    munmap(other->memory, SIZE_BYTES);
}

static LodgeMemoryCopy *
copy_of(const Other *other, int to_fd)
{
    g_autoptr(GError) error = NULL;
    const LodgeMemoryArea area = {other->pid, (guint64)(guintptr)other->memory, SIZE_BYTES, to_fd};
    LodgeMemoryCopy *copy = lodge_memory_copy_new(&area, &error);
    if (g_error_matches(error, LODGE_ERROR, LODGE_ERROR_UNSUPPORTED)) {
        g_test_skip(error->message);
        return NULL;
    }
    g_assert_no_error(error);
    return copy;
}

static void
bring(LodgeMemoryCopy *copy)
{
    g_autoptr(GError) error = NULL;
    lodge_memory_copy_bring(copy, &error);
    g_assert_no_error(error);
}

static void
assert_page(int fd, guint page, guint8 value)
{
    guint8 data[PAGE_BYTES];
    g_assert_cmpint(pread(fd, data, sizeof data, (off_t)page * PAGE_BYTES), ==, PAGE_BYTES);
    for (gsize i = 0; i < sizeof data; i++) {
        g_assert_cmpint(data[i], ==, value);
    }
}

static guint
pages_in(int fd)
{
    struct stat info;
    g_assert_cmpint(fstat(fd, &info), ==, 0);
    return (guint)(info.st_blocks * 512 / PAGE_BYTES);
}

/* --- Deeds ------------------------------------------------------------------------------------ */

static void
write_some(guint8 *memory)
{
    fill(memory, 3, 3);
    fill(memory, 70, 7);
    fill(memory, 9000, 9);
    fill(memory, 9001, 0);
}

static void
write_more(guint8 *memory)
{
    fill(memory, 3, 33);
    fill(memory, 70, 0);
    fill(memory, 9001, 91);
    fill(memory, PAGES - 1, 255);
}

static void
give_up(guint8 *memory)
{
    g_assert_cmpint(madvise(memory + (gsize)3 * PAGE_BYTES, PAGE_BYTES, MADV_DONTNEED), ==, 0);
    g_assert_cmpint(madvise(memory + (gsize)9000 * PAGE_BYTES, PAGE_BYTES, MADV_DONTNEED), ==, 0);
}

static const Deed deeds[] = {write_some, write_more, give_up};

/* --- Tests ------------------------------------------------------------------------------------ */

static void
test_memory_of_its_own(void)
{
    lodge_autofd to = make_file();
    Other other = other_begin(-1, deeds);
    other_do(&other, 0);
    g_autoptr(LodgeMemoryCopy) copy = copy_of(&other, to);
    if (copy != NULL) {
        bring(copy);
        assert_page(to, 3, 3);
        assert_page(to, 9000, 9);
        g_assert_cmpuint(pages_in(to), <=, 3); /* what holds nothing takes nothing */
        other_do(&other, 1);
        bring(copy);
        assert_page(to, 3, 33);
        assert_page(to, 70, 0);
        assert_page(to, 9001, 91);
        assert_page(to, PAGES - 1, 255);
        other_do(&other, 2);
        bring(copy);
        assert_page(to, 3, 0);
        assert_page(to, 9000, 0);
        assert_page(to, 9001, 91);
    }
    other_end(&other);
}

/* Of a copy's memory: what was mapped, with what was written since above it. */
static void
test_memory_of_a_copy(void)
{
    guint64 own_bytes = 0;
    lodge_autofd base = make_file();
    lodge_autofd to = make_file();
    guint8 *memory = mmap(NULL, SIZE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, base, 0);
    g_assert_true(memory != MAP_FAILED);
    fill(memory, 0, 100);
    fill(memory, 3, 103);
    fill(memory, 70, 170);
    fill(memory, 8000, 180);
    munmap(memory, SIZE_BYTES);
    Other other = other_begin(base, deeds);
    other_do(&other, 0);
    g_autoptr(LodgeMemoryCopy) copy = copy_of(&other, to);
    if (copy != NULL) {
        g_assert_true(lodge_memory_copy_own_bytes(copy, &own_bytes, NULL));
        g_assert_cmpuint(own_bytes, ==, 4 * PAGE_BYTES);
        guint before = pages_in(base);
        bring(copy);
        g_assert_cmpuint(pages_in(base), ==, before); /* looking at holes fills none */
        assert_page(to, 0, 100);
        assert_page(to, 3, 3);
        assert_page(to, 8000, 180);
        assert_page(to, 9000, 9);
        other_do(&other, 1);
        bring(copy);
        assert_page(to, 3, 33);
        assert_page(to, 70, 0);
        other_do(&other, 2);
        bring(copy);
        assert_page(to, 3, 103);
        assert_page(to, 9000, 0);
    }
    other_end(&other);
}

static void
test_shared_memory_is_refused(void)
{
    g_autoptr(GError) error = NULL;
    lodge_autofd base = make_file();
    lodge_autofd to = make_file();
    guint8 *memory = mmap(NULL, SIZE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, base, 0);
    const LodgeMemoryArea area = {getpid(), (guint64)(guintptr)memory, SIZE_BYTES, to};
    g_assert_null(lodge_memory_copy_new(&area, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_UNSUPPORTED);
    munmap(memory, SIZE_BYTES);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/qemu/memory-copy/own", test_memory_of_its_own);
    g_test_add_func("/qemu/memory-copy/copy", test_memory_of_a_copy);
    g_test_add_func("/qemu/memory-copy/shared", test_shared_memory_is_refused);
    return g_test_run();
}
