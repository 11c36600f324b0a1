/* Theory of operation: QEMU writes the boot order for the firmware when the machine is reset, the
 * first time before it starts. So a start with another order, followed at once by the usual one,
 * boots once from elsewhere: an installer's reboot already finds what it has installed. */
#include "config.h"

#include "keeper/boot-once.h"

#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "qemu/disks.h"

enum {
    WORD_LIMIT_BYTES = 64,
};

/* @first, then the other words of @order. */
static char *
put_first(const char *first, const char *order)
{
    g_autoptr(GString) text = g_string_new(first);
    g_auto(GStrv) words = g_strsplit(order, ",", -1);
    for (gsize i = 0; words[i] != NULL; i++) {
        if (!g_str_equal(words[i], first)) {
            g_string_append_printf(text, ",%s", words[i]);
        }
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}

json_t *
boot_once_take(const LodgeStore *store, LodgeGuest *guest)
{
    g_autofree char *path = lodge_store_run_path(store, guest->name, "boot-once");
    g_autofree char *word = lodge_file_read(path, WORD_LIMIT_BYTES, NULL, NULL);
    unlink(path);
    if (word == NULL ||
        (strcmp(word, "disk") != 0 && strcmp(word, "cdrom") != 0 && strcmp(word, "net") != 0)) {
        return NULL;
    }
    json_t *usual = lodge_boot_indexes(guest, guest->boot);
    char *boot = put_first(word, guest->boot);
    g_free(guest->boot);
    guest->boot = boot;
    /* A kernel given to QEMU comes before any order. */
    g_clear_pointer(&guest->kernel, g_free);
    g_clear_pointer(&guest->initrd, g_free);
    g_autoptr(json_t) once = lodge_boot_indexes(guest, boot);
    return json_pack("{s:O, s:o}", "once", once, "usual", usual);
}

static void
set_index(LodgeQmp *qmp, const char *id, json_int_t index)
{
    g_autofree char *path = g_strconcat("/machine/peripheral/", id, NULL);
    lodge_qmp_send(
        qmp, "qom-set",
        json_pack("{s:s, s:s, s:I}", "path", path, "property", "bootindex", "value", index), -1,
        NULL, NULL, NULL);
}

void
boot_once_restore(LodgeQmp *qmp, json_t *order)
{
    const char *id = NULL;
    json_t *index = NULL;
    g_autoptr(json_t) own = order;
    /* No two devices may have the same index, not even for a moment. */
    json_object_foreach (json_object_get(own, "once"), id, index) {
        set_index(qmp, id, -1);
    }
    json_object_foreach (json_object_get(own, "usual"), id, index) {
        set_index(qmp, id, json_integer_value(index));
    }
}
