#include "config.h"

#include "ops/image-make.h"

#include <string.h>

#include "base/base.h"
#include "image/image.h"
#include "image/making.h"
#include "keeper/chain.h"
#include "ops/disk.h"
#include "ops/session.h"
#include "ops/workshop.h"
#include "qemu/disks.h"
#include "qemu/img.h"
#include "qemu/qcow2.h"

/* The new image is to its guests what this guest's image was, as far as that is known. */
static LodgeImage *
settings(const LodgeStore *store, const LodgeGuest *guest, const char *name, guint64 size_bytes,
         GError **error)
{
    g_autoptr(LodgeImage) old = guest->image != NULL ? lodge_store_image(store, guest->image, NULL)
                                                     : NULL;
    static const char defaults[] = "[image]\nsize=1M\n";
    g_autofree char *text = old != NULL ? lodge_image_format(old) : g_strdup(defaults);
    LodgeImage *image = lodge_image_parse(name, text, strlen(text), error);
    if (image == NULL) {
        return NULL;
    }
    char **const texts[] = {&image->disk,   &image->more_disks,       &image->kernel,
                            &image->initrd, &image->kernel_arguments, &image->title,
                            &image->user};
    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_clear_pointer(texts[i], g_free);
    }
    image->title = guest->description != NULL ? g_strdup(guest->description)
                                              : g_strdup_printf("Made of guest %s", guest->name);
    image->user = g_strdup(guest->user);
    image->memory_bytes = guest->memory_bytes;
    image->cpus = guest->cpus;
    image->size_bytes = size_bytes;
    image->provision = guest->provision;
    image->agent = guest->agent;
    image->uefi_only = lodge_guest_is_uefi(guest);
    return image;
}

/* What is copied of a guest. */
typedef struct {
    const LodgeGuest *guest;
    const LodgeDiskView *disk;
    char *variables; /* UEFI's; NULL: none */
    char **only;     /* the files that both consist of */
} Origin;

static void
origin_clear(Origin *origin)
{
    g_clear_pointer(&origin->variables, g_free);
    g_clear_pointer(&origin->only, g_strfreev);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Origin, origin_clear)

static gboolean
add_files(GStrvBuilder *files, const LodgeStore *store, const LodgeGuest *guest, const char *file,
          int format, GError **error)
{
    g_autoptr(GPtrArray) chain = lodge_guest_chain(store, guest, file, format, error);
    for (guint i = 0; chain != NULL && i < chain->len; i++) {
        g_strv_builder_add(files, ((const LodgeLayer *)chain->pdata[i])->path);
    }
    return chain != NULL;
}

/* Nothing but what is right for the guest is opened: see lodge_guest_chain(). */
static gboolean
find_files(const LodgeStore *store, Origin *origin, GError **error)
{
    const LodgeGuest *guest = origin->guest;
    const LodgeDisk *first = guest->disks->pdata[0];
    const char *name = guest->variables != NULL ? guest->variables : "nvram.qcow2";
    g_autofree char *variables = lodge_store_guest_path(store, guest->name, name);
    g_autoptr(GStrvBuilder) files = g_strv_builder_new();
    gboolean has_variables = g_file_test(variables, G_FILE_TEST_EXISTS);
    if (!add_files(files, store, guest, first->file, first->format, error) ||
        (has_variables && !add_files(files, store, guest, name, LODGE_FORMAT_QCOW2, error))) {
        return FALSE;
    }
    origin->variables = has_variables ? g_steal_pointer(&variables) : NULL;
    origin->only = g_strv_builder_end(files);
    return TRUE;
}

static gboolean
copy_plain(LodgeMaking *making, const Origin *origin, GError **error)
{
    g_autofree char *target = lodge_making_path(making, "disk.qcow2");
    const LodgeImgConversion conversion = {.source = origin->disk->file,
                                           .source_format = origin->disk->format,
                                           .target = target,
                                           .trusted = TRUE,
                                           .only = (const char *const *)origin->only};
    lodge_progress_stage(making->progress, "its disk is copied");
    making->image->disk = g_strdup("disk.qcow2");
    return lodge_img_convert(&conversion, making->progress, error);
}

static gboolean
copy_sealed(LodgeMaking *making, const Origin *origin, const char *const *kernels, GError **error)
{
    const LodgeGuest *guest = origin->guest;
    const WorkshopWish wish = {.disk = origin->disk->file,
                               .format = origin->disk->format,
                               .only = (const char *const *)origin->only,
                               .like = making->image,
                               .kernel = kernels[0],
                               .initrd = kernels[1],
                               .kernel_arguments = guest->kernel_arguments,
                               .machine = guest,
                               .uefi = lodge_guest_is_uefi(guest),
                               .variables = origin->variables};
    g_auto(Workshop) workshop = {0};
    if (!guest->agent) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "--seal needs an agent in the guest, to remove what is its own "
                               "(start it, `lodge agent install %s`, `lodge set %s agent=yes`)",
                               guest->name, guest->name);
    }
    return workshop_open(&workshop, making, &wish, error) && workshop_seal(&workshop, error) &&
           workshop_finish(&workshop, error);
}

static char *
path_of(const LodgeStore *store, const LodgeGuest *guest, const char *file)
{
    return file != NULL ? lodge_disk_path(store, guest->name, file) : NULL;
}

static gboolean
make(LodgeMaking *making, const Origin *origin, gboolean seal, GError **error)
{
    LodgeImage *image = making->image;
    const LodgeGuest *guest = origin->guest;
    g_autofree char *words = g_strdup_printf("guest %s%s", guest->name, seal ? ", sealed" : "");
    g_autofree char *kernel = path_of(making->store, guest, guest->kernel);
    g_autofree char *initrd = path_of(making->store, guest, guest->initrd);
    const char *const kernels[] = {kernel, initrd};
    image->kernel_arguments = g_strdup(guest->kernel_arguments);
    return (seal ? copy_sealed(making, origin, kernels, error)
                 : copy_plain(making, origin, error)) &&
           workshop_copy_kernels(making, kernel, initrd, error) &&
           lodge_making_finish(making, words, error);
}

static gboolean
check(const Session *session, const LodgeDiskView *disk, GError **error)
{
    const char *name = session->guest->name;
    if (session->state->has_qemu) {
        return lodge_error_set(error, LODGE_ERROR_BUSY,
                               "guest %s is %s: a template is made of a stopped one (`lodge stop "
                               "%s`)",
                               name, lodge_state_word(session->state->state), name);
    }
    if (disk->problem != NULL) {
        return lodge_error_set(error, LODGE_ERROR_INVALID, "disk %s: %s", disk->name,
                               disk->problem);
    }
    return !lodge_disk_is_remote(disk->file) ||
           lodge_error_set(error, LODGE_ERROR_UNSUPPORTED, "disk %s is not on this host",
                           disk->name);
}

static gboolean
make_of(const Session *session, const char *name, gboolean seal, LodgeProgress *progress,
        GError **error)
{
    const LodgeGuest *guest = session->guest;
    if (guest->disks->len == 0) {
        return lodge_error_set(error, LODGE_ERROR_INVALID, "guest %s has no disk", guest->name);
    }
    const LodgeDisk *first = guest->disks->pdata[0];
    g_autoptr(LodgeDiskView)
        disk = lodge_disk_find(session->store, guest->name, first->name, error);
    g_auto(Origin) origin = {.guest = guest, .disk = disk};
    if (disk == NULL || !check(session, disk, error) ||
        !find_files(session->store, &origin, error)) {
        return FALSE;
    }
    LodgeImage *image = settings(session->store, guest, name, disk->size_bytes, error);
    g_auto(LodgeMaking) making = {0};
    return image != NULL &&
           lodge_making_begin(&making, session->store, image, LODGE_MAKING_NEW, progress, error) &&
           make(&making, &origin, seal, error);
}

gboolean
lodge_image_make(const LodgeStore *store, const char *guest, const char *name, gboolean seal,
                 LodgeProgress *progress, GError **error)
{
    if (!lodge_image_name_check(name, error)) {
        return FALSE;
    }
    g_autoptr(Session) session = session_begin(store, guest, "image make", error);
    return session != NULL &&
           (make_of(session, name, seal, lodge_job_progress(session->job, progress), error) ||
            lodge_error_prefix(error, "making image %s", name));
}
