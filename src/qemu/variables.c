#include "config.h"

#include "qemu/variables.h"

#include <errno.h>
#include <stdio.h>

#include "base/base.h"
#include "qemu/img.h"

LodgeFirmware *
lodge_firmware_for(const LodgeGuest *guest, GError **error)
{
    gboolean secure = lodge_guest_secure_boot(guest);
    LodgeFirmware *firmware = lodge_firmware_find("", secure);
    if (firmware == NULL) {
        lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                        secure ? "no UEFI firmware (OVMF) with secure boot is installed (`lodge "
                                 "check` names the package; secure-boot=no does without)"
                               : "no UEFI firmware (OVMF) is installed (`lodge check` names the "
                                 "package)");
    }
    return firmware;
}

gboolean
lodge_variables_make(const LodgeGuest *guest, const char *path, GError **error)
{
    if (!lodge_guest_is_uefi(guest) || g_file_test(path, G_FILE_TEST_EXISTS)) {
        return TRUE;
    }
    g_autoptr(LodgeFirmware) firmware = lodge_firmware_for(guest, error);
    g_autofree char *fresh = g_strconcat(path, ".new", NULL);
    remove(fresh);
    const LodgeImgConversion conversion = {.source = firmware != NULL ? firmware->vars : NULL,
                                           .source_format = firmware != NULL ? firmware->vars_format
                                                                             : NULL,
                                           .target = fresh,
                                           .trusted = TRUE};
    return firmware != NULL && lodge_img_convert(&conversion, NULL, error) &&
           (rename(fresh, path) == 0 || lodge_error_errno(error, errno, "%s", path));
}
