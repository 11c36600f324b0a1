#include "config.h"

#include "ops/image-make.h"

#include <string.h>

#include "base/base.h"
#include "image/image.h"
#include "image/making.h"
#include "ops/disk.h"
#include "ops/session.h"
#include "ops/workshop.h"
#include "qemu/disks.h"
#include "qemu/img.h"

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

static gboolean
copy_plain(LodgeMaking *making, const LodgeDiskView *disk, GError **error)
{
    g_autofree char *target = lodge_making_path(making, "disk.qcow2");
    const LodgeImgConversion conversion = {
        .source = disk->file, .source_format = disk->format, .target = target, .trusted = TRUE};
    lodge_progress_stage(making->progress, "its disk is copied");
    making->image->disk = g_strdup("disk.qcow2");
    return lodge_img_convert(&conversion, making->progress, error);
}

static gboolean
copy_sealed(LodgeMaking *making, const LodgeGuest *guest, const LodgeDiskView *disk,
            const char *const *kernels, GError **error)
{
    g_autofree char *variables = lodge_store_guest_path(
        making->store, guest->name, guest->variables != NULL ? guest->variables : "nvram.qcow2");
    const WorkshopWish wish = {.disk = disk->file,
                               .format = disk->format,
                               .like = making->image,
                               .kernel = kernels[0],
                               .initrd = kernels[1],
                               .kernel_arguments = guest->kernel_arguments,
                               .machine = guest,
                               .uefi = lodge_guest_is_uefi(guest),
                               .variables = g_file_test(variables, G_FILE_TEST_EXISTS) ? variables
                                                                                       : NULL};
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
make(LodgeMaking *making, const LodgeGuest *guest, const LodgeDiskView *disk, gboolean seal,
     GError **error)
{
    LodgeImage *image = making->image;
    g_autofree char *origin = g_strdup_printf("guest %s%s", guest->name, seal ? ", sealed" : "");
    g_autofree char *kernel = path_of(making->store, guest, guest->kernel);
    g_autofree char *initrd = path_of(making->store, guest, guest->initrd);
    const char *const kernels[] = {kernel, initrd};
    image->kernel_arguments = g_strdup(guest->kernel_arguments);
    return (seal ? copy_sealed(making, guest, disk, kernels, error)
                 : copy_plain(making, disk, error)) &&
           workshop_copy_kernels(making, kernel, initrd, error) &&
           lodge_making_finish(making, origin, error);
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
    if (disk == NULL || !check(session, disk, error)) {
        return FALSE;
    }
    LodgeImage *image = settings(session->store, guest, name, disk->size_bytes, error);
    g_auto(LodgeMaking) making = {0};
    return image != NULL &&
           lodge_making_begin(&making, session->store, image, LODGE_MAKING_NEW, progress, error) &&
           make(&making, guest, disk, seal, error);
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
