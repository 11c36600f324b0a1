#include "config.h"

#include "model/point.h"

#include <string.h>

#include "base/base.h"

#define POINT(field) G_STRUCT_OFFSET(LodgePoint, field)
#define DISK(field) G_STRUCT_OFFSET(LodgePointDisk, field)
#define DISK_GROUP "disk "
#define NAME_FORMAT "%Y%m%d-%H%M%S"

static const LodgeKey point_keys[] = {
    {"guest", LODGE_TYPE_NAME, POINT(guest), .help = "Whose disks they are."},
    {"made", LODGE_TYPE_TEXT, POINT(made), .help = "When."},
    {"parent", LODGE_TYPE_NAME, POINT(parent), .help = "The point that its disks stand on."},
    {"kind", LODGE_TYPE_CHOICE, POINT(kind), "stopped", "stopped|frozen|plug",
     .help = "What the guest did: `frozen` and `plug` are disks of a guest that ran, with its file "
             "systems at rest or not."},
    {"definition-sha256", LODGE_TYPE_TEXT, POINT(definition), .help = "Of the file guest.conf."},
    {"variables-sha256", LODGE_TYPE_TEXT, POINT(variables),
     .help = "Of the file variables, the UEFI variables. None: there are none."},
    {"seed", LODGE_TYPE_FILE, POINT(seed),
     .help = "The file that told the guest its name and keys, `seed.txt` or `seed.iso`."},
    {"seed-sha256", LODGE_TYPE_TEXT, POINT(seed_sha256), .help = "Of that file."},
    {"tpm-sha256", LODGE_TYPE_TEXT, POINT(tpm),
     .help = "Of the file tpm, the state of its TPM. None: there is none."},
};

static const LodgeKey disk_keys[] = {
    {"file", LODGE_TYPE_FILE, DISK(file), .help = "The qcow2 file that holds what changed."},
    {"size", LODGE_TYPE_SIZE, DISK(size_bytes), "0", .help = "The disk's, as the guest sees it."},
    {"bytes", LODGE_TYPE_SIZE, DISK(bytes), "0", .help = "The file's."},
    {"sha256", LODGE_TYPE_TEXT, DISK(sha256), .help = "Of the file."},
    {"full", LODGE_TYPE_BOOL, DISK(full), "no",
     .help = "Whether it holds all, not only what changed since the parent."},
    {"why", LODGE_TYPE_TEXT, DISK(why), .help = "Why it had to be full."},
};

static const LodgeSection sections[] = {
    {"point", FALSE, point_keys, G_N_ELEMENTS(point_keys), "What it is."},
    {"disk", TRUE, disk_keys, G_N_ELEMENTS(disk_keys), "A disk."},
    {NULL},
};

char *
lodge_point_name(gint64 time_s)
{
    g_autoptr(GDateTime) time = g_date_time_new_from_unix_utc(time_s);
    return g_date_time_format(time, NAME_FORMAT);
}

gint64
lodge_point_time(const char *name)
{
    int parts[6];
    static const gsize widths[] = {4, 2, 2, 2, 2, 2};
    const char *at = name;
    for (gsize i = 0; i < G_N_ELEMENTS(parts); i++) {
        parts[i] = 0;
        for (gsize digit = 0; digit < widths[i]; digit++, at++) {
            if (!g_ascii_isdigit(*at)) {
                return -1;
            }
            parts[i] = parts[i] * 10 + (*at - '0');
        }
        if (i == 2 && *at++ != '-') {
            return -1;
        }
    }
    g_autoptr(GDateTime) time = *at == '\0' ? g_date_time_new_utc(parts[0], parts[1], parts[2],
                                                                  parts[3], parts[4], parts[5])
                                            : NULL;
    return time != NULL ? g_date_time_to_unix(time) : -1;
}

static void
disk_free(gpointer data)
{
    LodgePointDisk *disk = data;
    lodge_schema_clear(&sections[1], disk);
    g_free(disk->name);
    g_free(disk);
}

LodgePoint *
lodge_point_new(const char *name)
{
    LodgePoint *point = g_new0(LodgePoint, 1);
    point->name = g_strdup(name);
    point->disks = g_ptr_array_new_with_free_func(disk_free);
    return point;
}

LodgePointDisk *
lodge_point_add_disk(LodgePoint *point, const char *name)
{
    LodgePointDisk *disk = g_new0(LodgePointDisk, 1);
    disk->name = g_strdup(name);
    g_ptr_array_add(point->disks, disk);
    return disk;
}

static gboolean
fill_disk(LodgePoint *point, const LodgeKeyFile *file, const char *group, GError **error)
{
    LodgePointDisk *disk = lodge_point_add_disk(point, group + strlen(DISK_GROUP));
    if (!lodge_schema_fill(&sections[1], file, group, disk, error)) {
        return FALSE;
    }
    if (disk->file == NULL) {
        return lodge_error_set(error, LODGE_ERROR_INVALID, "%s: [%s] has no file=", file->what,
                               group);
    }
    if (!disk->full && point->parent == NULL) {
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "%s: [%s] is not full, and the point has no parent=", file->what,
                               group);
    }
    return TRUE;
}

LodgePoint *
lodge_point_parse(const char *name, const char *text, gsize length, GError **error)
{
    g_autofree char *what = g_strdup_printf("point %s", name);
    g_autoptr(LodgeKeyFile) file = lodge_key_file_parse(what, text, length, error);
    if (file == NULL || !lodge_schema_check(sections, file, error)) {
        return NULL;
    }
    g_autoptr(LodgePoint) point = lodge_point_new(name);
    if (!lodge_schema_fill(&sections[0], file, "point", point, error)) {
        return NULL;
    }
    if (point->parent != NULL && lodge_point_time(point->parent) < 0) {
        lodge_error_set(error, LODGE_ERROR_INVALID, "%s: parent=%s is no point's name", what,
                        point->parent);
        return NULL;
    }
    for (gsize i = 0; i < file->count; i++) {
        const LodgeEntry *entry = &file->entries[i];
        if (entry->key == NULL && g_str_has_prefix(entry->group, DISK_GROUP) &&
            !fill_disk(point, file, entry->group, error)) {
            return NULL;
        }
    }
    return g_steal_pointer(&point);
}

char *
lodge_point_format(const LodgePoint *point)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    lodge_schema_write(&sections[0], point, file, "point");
    for (guint i = 0; i < point->disks->len; i++) {
        const LodgePointDisk *disk = point->disks->pdata[i];
        g_autofree char *group = g_strconcat(DISK_GROUP, disk->name, NULL);
        lodge_schema_write(&sections[1], disk, file, group);
    }
    return g_key_file_to_data(file, NULL, NULL);
}

LodgePointDisk *
lodge_point_disk(const LodgePoint *point, const char *name)
{
    for (guint i = 0; i < point->disks->len; i++) {
        LodgePointDisk *disk = point->disks->pdata[i];
        if (g_str_equal(disk->name, name)) {
            return disk;
        }
    }
    return NULL;
}

guint64
lodge_point_bytes(const LodgePoint *point)
{
    guint64 bytes = 0;
    for (guint i = 0; i < point->disks->len; i++) {
        bytes += ((const LodgePointDisk *)point->disks->pdata[i])->bytes;
    }
    return bytes;
}

gboolean
lodge_point_is_full(const LodgePoint *point)
{
    for (guint i = 0; i < point->disks->len; i++) {
        if (!((const LodgePointDisk *)point->disks->pdata[i])->full) {
            return FALSE;
        }
    }
    return TRUE;
}

const char *
lodge_point_kind_word(int kind)
{
    switch ((LodgePointKind)kind) {
    case LODGE_POINT_STOPPED:
        return "stopped";
    case LODGE_POINT_FROZEN:
        return "frozen";
    case LODGE_POINT_PLUG:
        return "plug";
    }
    return "stopped";
}

void
lodge_point_free(LodgePoint *point)
{
    if (point != NULL) {
        lodge_schema_clear(&sections[0], point);
        g_ptr_array_unref(point->disks);
        g_free(point->name);
        g_free(point);
    }
}
