/* The header of a qcow2 file, which a guest's QEMU may write as it likes. */
#include "config.h"

#include <sys/mman.h>
#include <unistd.h>

#include "base/tests/fuzz.h"
#include "qemu/qcow2.h"

static void
fuzz_one(const guint8 *data, gsize size)
{
    lodge_autofd fd = memfd_create("fuzz", MFD_CLOEXEC);
    g_assert_cmpint(write(fd, data, size), ==, (gssize)size);
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);
    LodgeQcow2Header *header = lodge_qcow2_read_header(path, NULL);
    lodge_qcow2_header_free(header);
    g_autoptr(GPtrArray) chain = lodge_qcow2_chain(path, NULL);
}
