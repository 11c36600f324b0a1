#include "config.h"

#include <string.h>

#include "base/base.h"
#include "model/model.h"

static LodgeSnapshot *
parse(const char *text, GError **error)
{
    return lodge_snapshot_parse("s", text, strlen(text), error);
}

/* What is written is read back the same. */
static void
test_round(void)
{
    g_autoptr(LodgeSnapshot) snapshot = lodge_snapshot_new("s");
    snapshot->parent = g_strdup("before");
    snapshot->kind = LODGE_SNAPSHOT_FROZEN;
    snapshot->description = g_strdup("before the “upgrade”");
    snapshot->memory_bytes = 12345;
    lodge_snapshot_add_disk(snapshot, "root", "layers/root-1.qcow2", LODGE_FORMAT_QCOW2);
    lodge_snapshot_add_disk(snapshot, "data", "data.raw", LODGE_FORMAT_RAW);
    g_autofree char *text = lodge_snapshot_format(snapshot);
    g_autoptr(GError) error = NULL;
    g_autoptr(LodgeSnapshot) again = parse(text, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(again->parent, ==, "before");
    g_assert_cmpstr(again->description, ==, "before the “upgrade”");
    g_assert_cmpint(again->kind, ==, LODGE_SNAPSHOT_FROZEN);
    g_assert_cmpuint(again->memory_bytes, ==, 12345);
    g_assert_cmpuint(again->disks->len, ==, 2);
    g_assert_cmpstr(lodge_snapshot_disk(again, "root")->file, ==, "layers/root-1.qcow2");
    g_assert_cmpint(lodge_snapshot_disk(again, "data")->format, ==, LODGE_FORMAT_RAW);
    g_assert_null(lodge_snapshot_disk(again, "none"));
    g_autofree char *text_again = lodge_snapshot_format(again);
    g_assert_cmpstr(text, ==, text_again);
}

/* Files that are removed with a snapshot are the guest's own, whatever the file says. */
static void
test_refused(void)
{
    static const char *const texts[] = {
        "[disk root]\nfile=/etc/passwd\n",  "[disk root]\nfile=../web2/root.qcow2\n",
        "[disk root]\nformat=qcow2\n",      "[disk root]\nfile=a\nformat=vmdk\n",
        "[snapshot]\nparent=../x\n",        "[snapshot]\nkind=half\n",
        "[snapshot]\nvariables=../nvram\n",
    };
    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(LodgeSnapshot) snapshot = parse(texts[i], &error);
        g_assert_null(snapshot);
        g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INVALID);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/model/snapshot/round", test_round);
    g_test_add_func("/model/snapshot/refused", test_refused);
    return g_test_run();
}
