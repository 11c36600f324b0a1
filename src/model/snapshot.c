#include "config.h"

#include "model/snapshot.h"

#include <string.h>

#include "base/base.h"
#include "model/guest.h"

#define SNAPSHOT(field) G_STRUCT_OFFSET(LodgeSnapshot, field)
#define DISK(field) G_STRUCT_OFFSET(LodgeSnapshotDisk, field)
#define DISK_GROUP "disk "

static const LodgeKey snapshot_keys[] = {
    {"parent", LODGE_TYPE_NAME, SNAPSHOT(parent), .help = "The snapshot that it was made after."},
    {"made", LODGE_TYPE_TEXT, SNAPSHOT(made), .help = "When."},
    {"description", LODGE_TYPE_TEXT, SNAPSHOT(description), .help = "For people."},
    {"kind", LODGE_TYPE_CHOICE, SNAPSHOT(kind), "stopped", "stopped|running|frozen|plug",
     .help = "What the guest did: `running` has its memory; `frozen` and `plug` are disks of a "
             "guest that ran, with its file systems at rest or not."},
    {"pause-ms", LODGE_TYPE_COUNT, SNAPSHOT(pause_ms), "0",
     .help = "How many milliseconds the guest stood still for it."},
    {"memory-bytes", LODGE_TYPE_SIZE, SNAPSHOT(memory_bytes), "0",
     .help = "The size of the file `memory`. 0: there is none."},
    {"qemu", LODGE_TYPE_TEXT, SNAPSHOT(qemu), .help = "The QEMU that wrote that file."},
    {"kvm", LODGE_TYPE_BOOL, SNAPSHOT(kvm), "no", .help = "Whether it ran the guest by KVM."},
    {"paused", LODGE_TYPE_BOOL, SNAPSHOT(paused), "no", .help = "Whether the guest was paused."},
    {"variables", LODGE_TYPE_FILE, SNAPSHOT(variables), .help = "The UEFI variables' file."},
    {"tpm", LODGE_TYPE_FILE, SNAPSHOT(tpm), .help = "The file of its TPM's state."},
    {"layout", LODGE_TYPE_TEXT, SNAPSHOT(layout),
     .help = "Where its QEMU had devices, if some came or went while it ran."},
};

static const LodgeKey disk_keys[] = {
    {"file", LODGE_TYPE_PATH, DISK(file), .help = "The layer that holds it, which is not written."},
    {"format", LODGE_TYPE_CHOICE, DISK(format), "qcow2", "qcow2|raw", .help = "Its format."},
};

static const LodgeSection sections[] = {
    {"snapshot", FALSE, snapshot_keys, G_N_ELEMENTS(snapshot_keys), "What it is."},
    {"disk", TRUE, disk_keys, G_N_ELEMENTS(disk_keys), "A disk."},
    {NULL},
};

static void
disk_free(gpointer data)
{
    LodgeSnapshotDisk *disk = data;
    lodge_schema_clear(&sections[1], disk);
    g_free(disk->name);
    g_free(disk);
}

LodgeSnapshot *
lodge_snapshot_new(const char *name)
{
    LodgeSnapshot *snapshot = g_new0(LodgeSnapshot, 1);
    snapshot->name = g_strdup(name);
    snapshot->disks = g_ptr_array_new_with_free_func(disk_free);
    return snapshot;
}

static gboolean
fill_disk(LodgeSnapshot *snapshot, const LodgeKeyFile *file, const char *group, GError **error)
{
    LodgeSnapshotDisk *disk = g_new0(LodgeSnapshotDisk, 1);
    disk->name = g_strdup(group + strlen(DISK_GROUP));
    g_ptr_array_add(snapshot->disks, disk);
    if (!lodge_schema_fill(&sections[1], file, group, disk, error)) {
        return FALSE;
    }
    /* It is joined to the guest's folder, and may be removed. */
    if (disk->file == NULL || g_path_is_absolute(disk->file) || strstr(disk->file, "..") != NULL) {
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "%s: [%s] file= must name a file in the guest's folder", file->what,
                               group);
    }
    return TRUE;
}

LodgeSnapshot *
lodge_snapshot_parse(const char *name, const char *text, gsize length, GError **error)
{
    g_autofree char *what = g_strdup_printf("snapshot %s", name);
    g_autoptr(LodgeKeyFile) file = lodge_key_file_parse(what, text, length, error);
    if (file == NULL || !lodge_schema_check(sections, file, error)) {
        return NULL;
    }
    g_autoptr(LodgeSnapshot) snapshot = lodge_snapshot_new(name);
    if (!lodge_schema_fill(&sections[0], file, "snapshot", snapshot, error)) {
        return NULL;
    }
    for (gsize i = 0; i < file->count; i++) {
        const LodgeEntry *entry = &file->entries[i];
        if (entry->key == NULL && g_str_has_prefix(entry->group, DISK_GROUP) &&
            !fill_disk(snapshot, file, entry->group, error)) {
            return NULL;
        }
    }
    return g_steal_pointer(&snapshot);
}

char *
lodge_snapshot_format(const LodgeSnapshot *snapshot)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    lodge_schema_write(&sections[0], snapshot, file, "snapshot");
    for (guint i = 0; i < snapshot->disks->len; i++) {
        const LodgeSnapshotDisk *disk = snapshot->disks->pdata[i];
        g_autofree char *group = g_strconcat(DISK_GROUP, disk->name, NULL);
        lodge_schema_write(&sections[1], disk, file, group);
    }
    return g_key_file_to_data(file, NULL, NULL);
}

void
lodge_snapshot_add_disk(LodgeSnapshot *snapshot, const char *name, const char *file, int format)
{
    LodgeSnapshotDisk *disk = g_new0(LodgeSnapshotDisk, 1);
    disk->name = g_strdup(name);
    disk->file = g_strdup(file);
    disk->format = format;
    g_ptr_array_add(snapshot->disks, disk);
}

LodgeSnapshotDisk *
lodge_snapshot_disk(const LodgeSnapshot *snapshot, const char *name)
{
    for (guint i = 0; i < snapshot->disks->len; i++) {
        LodgeSnapshotDisk *disk = snapshot->disks->pdata[i];
        if (g_str_equal(disk->name, name)) {
            return disk;
        }
    }
    return NULL;
}

const char *
lodge_snapshot_kind_word(int kind)
{
    switch ((LodgeSnapshotKind)kind) {
    case LODGE_SNAPSHOT_STOPPED:
        return "stopped";
    case LODGE_SNAPSHOT_RUNNING:
        return "running";
    case LODGE_SNAPSHOT_FROZEN:
        return "frozen";
    case LODGE_SNAPSHOT_PLUG:
        return "plug";
    }
    return "stopped";
}

void
lodge_snapshot_free(LodgeSnapshot *snapshot)
{
    if (snapshot != NULL) {
        lodge_schema_clear(&sections[0], snapshot);
        g_ptr_array_unref(snapshot->disks);
        g_free(snapshot->name);
        g_free(snapshot);
    }
}
