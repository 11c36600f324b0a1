#include "config.h"

#include "model/image.h"

#include "base/base.h"

#define IMAGE(field) G_STRUCT_OFFSET(LodgeImage, field)
#define MIB (G_GUINT64_CONSTANT(1) << 20)

static const LodgeKey image_keys[] = {
    {"title", LODGE_TYPE_TEXT, IMAGE(title), .help = "Its name for people."},
    {"user", LODGE_TYPE_USER, IMAGE(user), "root",
     .help = "The login name that guests of it get unless told another."},
    {"groups", LODGE_TYPE_TEXT, IMAGE(groups),
     .help = "Groups of that user besides its own, divided by commas."},
    {"shell", LODGE_TYPE_PATH, IMAGE(shell), .help = "Login shell of that user."},
    {"memory", LODGE_TYPE_SIZE, IMAGE(memory_bytes), "1G", .least = 32 * MIB,
     .help = "Memory of a guest of it, unless told otherwise."},
    {"cpus", LODGE_TYPE_COUNT, IMAGE(cpus), "2", .least = 1, .most = 255,
     .help = "Virtual CPUs of a guest of it, unless told otherwise."},
    {"size", LODGE_TYPE_SIZE, IMAGE(size_bytes), "10G", .least = MIB,
     .help = "The disk's size as a guest sees it."},
    {"provision", LODGE_TYPE_CHOICE, IMAGE(provision), "none", "none|lodge|nocloud",
     .help = "How a guest learns its name and keys."},
    {"agent", LODGE_TYPE_BOOL, IMAGE(agent), "no", .help = "Whether it holds QEMU's guest agent."},
    {"park", LODGE_TYPE_CHOICE, IMAGE(park), "auto", "auto|off",
     .help = "Whether it is parked by itself, once a guest of it was booted."},
    {"uefi-only", LODGE_TYPE_BOOL, IMAGE(uefi_only), "no",
     .help = "Whether it needs UEFI to boot."},
    {"disk", LODGE_TYPE_FILE, IMAGE(disk), .help = "The disk, a qcow2 file in the image's folder."},
    {"more-disks", LODGE_TYPE_TEXT, IMAGE(more_disks),
     .help = "Further disks of it, qcow2 files beside that one: guests get one of each."},
    {"kernel", LODGE_TYPE_FILE, IMAGE(kernel),
     .help = "A kernel beside it, which guests boot directly."},
    {"initrd", LODGE_TYPE_FILE, IMAGE(initrd), .help = "The initial RAM disk that goes with it."},
    {"kernel-arguments", LODGE_TYPE_TEXT, IMAGE(kernel_arguments), .help = "Its command line."},
    {"made", LODGE_TYPE_TEXT, IMAGE(made), .help = "When the image was made."},
    {"origin", LODGE_TYPE_TEXT, IMAGE(origin), .help = "What it was made from."},
};

static const LodgeKey build_keys[] = {
    {"recipe", LODGE_TYPE_FILE, IMAGE(recipe), .help = "The recipe that builds it from packages."},
    {"suite", LODGE_TYPE_NAME, IMAGE(suite), .help = "The distribution's release, for the recipe."},
    {"direct-boot", LODGE_TYPE_BOOL, IMAGE(direct_boot), "no",
     .help = "Whether guests boot the kernel that the recipe makes beside the disk."},
    {"space", LODGE_TYPE_SIZE, IMAGE(space_bytes), "2G",
     .help = "Free disk space that building it takes."},
};

static const LodgeKey pull_keys[] = {
    {"url", LODGE_TYPE_URL, IMAGE(url),
     .help = "Where the distribution publishes its cloud image."},
    {"checksums", LODGE_TYPE_URL, IMAGE(checksums_url),
     .help = "Where it publishes the checksums, as sha256sum(1) or BSD's sha256(1) write them."},
    {"checksum-kind", LODGE_TYPE_CHOICE, IMAGE(checksum_kind), "none", "none|sha256|sha512",
     .help = "Which they are."},
};

static const LodgeSection sections[] = {
    {"image", FALSE, image_keys, G_N_ELEMENTS(image_keys), "What it is."},
    {"build", FALSE, build_keys, G_N_ELEMENTS(build_keys), "How it is built."},
    {"pull", FALSE, pull_keys, G_N_ELEMENTS(pull_keys), "Where it is fetched."},
    {NULL},
};

const LodgeSection *
lodge_image_sections(void)
{
    return sections;
}

char **
lodge_image_more(const LodgeImage *image)
{
    return g_strsplit(image->more_disks != NULL ? image->more_disks : "", " ", -1);
}

gboolean
lodge_image_names(const LodgeImage *image, const char *file)
{
    g_auto(GStrv) more = lodge_image_more(image);
    return g_strcmp0(file, image->disk) == 0 || g_strcmp0(file, image->kernel) == 0 ||
           g_strcmp0(file, image->initrd) == 0 || g_strv_contains((const char *const *)more, file);
}

/* Each is a file in the image's folder, as `disk` is. */
static gboolean
check_more(const LodgeImage *image, GError **error)
{
    const LodgeKey *key = lodge_section_key(&sections[0], "disk");
    g_auto(GStrv) more = lodge_image_more(image);
    for (gsize i = 0; more[i] != NULL; i++) {
        if (!lodge_schema_value(key, more[i], NULL, error)) {
            if (error != NULL && *error != NULL) {
                (*error)->code = LODGE_ERROR_INVALID;
            }
            return lodge_error_prefix(error, "image %s: more-disks", image->name);
        }
    }
    return TRUE;
}

LodgeImage *
lodge_image_parse(const char *name, const char *text, gsize length, GError **error)
{
    g_autofree char *what = g_strdup_printf("image %s", name);
    g_autoptr(LodgeKeyFile) file = lodge_key_file_parse(what, text, length, error);
    if (file == NULL || !lodge_schema_check(sections, file, error)) {
        return NULL;
    }
    g_autoptr(LodgeImage) image = g_new0(LodgeImage, 1);
    image->name = g_strdup(name);
    for (const LodgeSection *section = sections; section->name != NULL; section++) {
        if (!lodge_schema_fill(section, file, section->name, image, error)) {
            return NULL;
        }
    }
    return check_more(image, error) ? g_steal_pointer(&image) : NULL;
}

char *
lodge_image_format(const LodgeImage *image)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    for (gsize i = 0; i < G_N_ELEMENTS(image_keys); i++) {
        g_autofree char *value = lodge_schema_format(&image_keys[i], image);
        if (value != NULL) {
            g_key_file_set_string(file, "image", image_keys[i].name, value);
        }
    }
    return g_key_file_to_data(file, NULL, NULL);
}

void
lodge_image_free(LodgeImage *image)
{
    if (image == NULL) {
        return;
    }
    for (const LodgeSection *section = sections; section->name != NULL; section++) {
        lodge_schema_clear(section, image);
    }
    g_free(image->name);
    g_free(image);
}
