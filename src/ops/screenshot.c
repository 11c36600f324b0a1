#include "config.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/base.h"
#include "ops/screen.h"
#include "ops/view.h"

enum {
    PICTURE_LIMIT_BYTES = 256 << 20,
    SIGNATURE_BYTES = 8,
    WIDTH_AT = 16, /* in the header chunk, which comes first */
    HEIGHT_AT = 20,
    LEAST_BYTES = 8 + 25 + 12 + 12, /* signature, header, data, end */
    END_BYTES = 12,
};

/* QEMU may open no file, but it can be given one: what it opens for writing must have been opened
 * for writing only, as descriptor sets compare the modes. */
static int
writable_copy(int memory_fd, GError **error)
{
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", memory_fd);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        lodge_error_errno(error, errno, "Memory for a picture");
    }
    return fd;
}

static gboolean
dump_to(LodgeView *view, int fd, const char *format, GError **error)
{
    gint64 deadline = lodge_deadline_in(LODGE_VIEW_TIMEOUT_MS);
    g_autoptr(json_t) set = lodge_qmp_call_fd(view->qmp, "add-fd", NULL, fd, deadline, error);
    if (set == NULL) {
        return FALSE;
    }
    json_int_t id = lodge_json_int(set, "fdset-id", -1);
    g_autofree char *name = g_strdup_printf("/dev/fdset/%d", (int)id);
    gboolean fine = lodge_qmp_run(view->qmp, deadline, error, "screendump", "{s:s, s:s}",
                                  "filename", name, "format", format);
    lodge_qmp_run(view->qmp, deadline, NULL, "remove-fd", "{s:I}", "fdset-id", id);
    return fine;
}

static guint32
big_endian(const char *at)
{
    guint32 value;
    memcpy(&value, at, sizeof value);
    return GUINT32_FROM_BE(value);
}

static gboolean
check_picture(const char *data, gsize length, GError **error)
{
    static const char signature[] = "\x89PNG\r\n\x1a\n";
    static const char end[] = "\0\0\0\0IEND\xae\x42\x60\x82";
    if (length < LEAST_BYTES || memcmp(data, signature, SIGNATURE_BYTES) != 0 ||
        memcmp(data + length - END_BYTES, end, END_BYTES) != 0) {
        return lodge_error_set(error, LODGE_ERROR_INVALID, "QEMU's picture is not whole");
    }
    return TRUE;
}

static char *
read_picture(int fd, gsize *out_length, GError **error)
{
    struct stat info;
    if (fstat(fd, &info) < 0 || info.st_size > PICTURE_LIMIT_BYTES) {
        lodge_error_set(error, LODGE_ERROR_INVALID, "QEMU's picture is too large");
        return NULL;
    }
    gsize length = (gsize)info.st_size;
    g_autofree char *data = g_malloc(length + 1);
    if (pread(fd, data, length, 0) != (gssize)length) {
        lodge_error_errno(error, errno, "Reading the picture");
        return NULL;
    }
    *out_length = length;
    return g_steal_pointer(&data);
}

/* The screen in one of QEMU's formats. */
static char *
take_picture(const LodgeStore *store, const char *name, const char *format, gsize *out_length,
             GError **error)
{
    g_autoptr(LodgeView) view = lodge_view_begin(store, name, error);
    if (view == NULL) {
        return NULL;
    }
    lodge_autofd memory = memfd_create("screenshot", MFD_CLOEXEC);
    lodge_autofd writable = memory >= 0 ? writable_copy(memory, error) : -1;
    if (writable < 0) {
        return NULL;
    }
    g_autoptr(GError) problem = NULL;
    if (!dump_to(view, writable, format, &problem)) {
        gboolean no_screen = strstr(problem->message, "no console") != NULL;
        lodge_error_set(error, no_screen ? LODGE_ERROR_UNSUPPORTED : (LodgeError)problem->code,
                        "guest %s: %s%s", name, problem->message,
                        no_screen ? " (it has no graphics device: see video= in its definition; "
                                    "`lodge console` shows its serial console)"
                                  : "");
        return NULL;
    }
    char *data = read_picture(memory, out_length, error);
    if (data == NULL) {
        lodge_error_prefix(error, "guest %s", name);
    }
    return data;
}

char *
lodge_screenshot(const LodgeStore *store, const char *name, gsize *out_length, guint *out_width,
                 guint *out_height, GError **error)
{
    g_autofree char *data = take_picture(store, name, "png", out_length, error);
    if (data == NULL) {
        return NULL;
    }
    if (!check_picture(data, *out_length, error)) {
        lodge_error_prefix(error, "guest %s", name);
        return NULL;
    }
    *out_width = big_endian(data + WIDTH_AT);
    *out_height = big_endian(data + HEIGHT_AT);
    return g_steal_pointer(&data);
}

/* Distributions put QEMU's firmware here or there. */
static char *
read_bios(gsize *out_length, GError **error)
{
    static const char *const places[] = {
        "/usr/share/seabios/vgabios-stdvga.bin",    "/usr/share/qemu/vgabios-stdvga.bin",
        "/usr/share/seavgabios/vgabios-stdvga.bin", "/usr/share/kvm/vgabios-stdvga.bin",
        "/usr/share/vgabios/vgabios-stdvga.bin",
    };
    for (gsize i = 0; i < G_N_ELEMENTS(places); i++) {
        char *bios = lodge_file_read(places[i], 1 << 20, out_length, NULL);
        if (bios != NULL) {
            return bios;
        }
    }
    lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                    "no font to read the screen by: QEMU's video BIOS, vgabios-stdvga.bin (package "
                    "seabios), is not where it is looked for");
    return NULL;
}

LodgeScreen *
lodge_screen_of(const LodgeStore *store, const char *name, GError **error)
{
    gsize bios_length = 0, length = 0;
    g_autofree char *bios = read_bios(&bios_length, error);
    const guint8 *font = bios != NULL ? lodge_screen_font((const guint8 *)bios, bios_length) : NULL;
    if (font == NULL) {
        if (bios != NULL) {
            lodge_error_set(error, LODGE_ERROR_UNSUPPORTED, "QEMU's video BIOS has no font");
        }
        return NULL;
    }
    g_autofree char *picture = take_picture(store, name, "ppm", &length, error);
    LodgeScreen *screen = picture != NULL ? lodge_screen_read(picture, length, font, error) : NULL;
    if (picture != NULL && screen == NULL) {
        lodge_error_prefix(error, "guest %s", name);
    }
    return screen;
}
