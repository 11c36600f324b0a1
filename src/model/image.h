/* An image: what the catalogue says of an operating system, and image.conf in an image's folder,
 * which has the same sections plus what became of it. */
#pragma once

#include <glib.h>

#include "model/schema.h"

typedef enum {
    LODGE_CHECKSUM_NONE,
    LODGE_CHECKSUM_SHA256,
    LODGE_CHECKSUM_SHA512
} LodgeChecksumKind;

typedef enum { LODGE_PARK_AUTO, LODGE_PARK_OFF } LodgeParkWish;

typedef struct {
    char *name;
    /* [image] */
    char *title;
    char *user;
    char *groups;         /* that user's, besides its own; NULL: the image's default */
    char *shell;          /* that user's; NULL: the image's default */
    guint64 memory_bytes; /* what a guest of it gets unless told */
    guint cpus;
    guint64 size_bytes; /* the disk's, as the guest sees it */
    int provision;      /* LodgeProvision */
    gboolean agent;
    int park; /* LodgeParkWish */
    gboolean uefi_only;
    char *disk;       /* only in image.conf: file names in the image's folder */
    char *more_disks; /* further ones, which guests of it get too, divided by spaces; NULL: none */
    char *kernel;     /* with initrd and arguments: guests of it boot it directly */
    char *initrd;
    char *kernel_arguments;
    char *made;   /* when, ISO 8601 */
    char *origin; /* how: a recipe, a URL, a file */
    /* [build] */
    char *recipe;
    char *suite;
    gboolean direct_boot;
    guint64 space_bytes; /* free disk space that building takes */
    /* [pull] */
    char *url;
    char *checksums_url;
    int checksum_kind; /* LodgeChecksumKind */
} LodgeImage;

const LodgeSection *lodge_image_sections(void);

/* Parse a catalogue entry or an image.conf. INVALID error with line and reason. */
LodgeImage *lodge_image_parse(const char *name, const char *text, gsize length, GError **error);

/* As the text of an image.conf, without the catalogue's [build] and [pull]. Free with g_free. */
char *lodge_image_format(const LodgeImage *image);

/* The names in more_disks. Free with g_strfreev. */
char **lodge_image_more(const LodgeImage *image);
/* Is @file one of the files that the image consists of? */
gboolean lodge_image_names(const LodgeImage *image, const char *file);

void lodge_image_free(LodgeImage *image);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeImage, lodge_image_free)
