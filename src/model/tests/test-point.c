#include "config.h"

#include <string.h>

#include "base/base.h"
#include "model/model.h"

static LodgePoint *
parse(const char *text, GError **error)
{
    return lodge_point_parse("20261121-154423", text, strlen(text), error);
}

/* What is written is read back the same. */
static void
test_round(void)
{
    g_autoptr(LodgePoint) point = lodge_point_new("20261121-154423");
    point->guest = g_strdup("web1");
    point->parent = g_strdup("20261120-010203");
    point->kind = LODGE_POINT_FROZEN;
    point->definition = g_strdup("00ff");
    LodgePointDisk *disk = lodge_point_add_disk(point, "root");
    disk->file = g_strdup("root.qcow2");
    disk->size_bytes = G_GUINT64_CONSTANT(20) << 30;
    disk->bytes = 12345;
    disk->sha256 = g_strdup("abcd");
    LodgePointDisk *data = lodge_point_add_disk(point, "data");
    data->file = g_strdup("data.qcow2");
    data->bytes = 5;
    data->full = TRUE;
    data->why = g_strdup("the disk was not there before");
    g_autofree char *text = lodge_point_format(point);
    g_autoptr(GError) error = NULL;
    g_autoptr(LodgePoint) again = parse(text, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(again->parent, ==, "20261120-010203");
    g_assert_cmpint(again->kind, ==, LODGE_POINT_FROZEN);
    g_assert_cmpuint(lodge_point_bytes(again), ==, 12350);
    g_assert_cmpuint(lodge_point_disk(again, "root")->size_bytes, ==, G_GUINT64_CONSTANT(20) << 30);
    g_assert_true(lodge_point_disk(again, "data")->full);
    g_assert_cmpstr(lodge_point_disk(again, "data")->why, ==, "the disk was not there before");
    g_assert_false(lodge_point_is_full(again));
    g_assert_null(lodge_point_disk(again, "none"));
    g_autofree char *text_again = lodge_point_format(again);
    g_assert_cmpstr(text, ==, text_again);
}

/* It may come from anywhere, and what it names is joined to its folder. */
static void
test_refused(void)
{
    static const char *const texts[] = {
        "[disk root]\nfile=/etc/passwd\nfull=yes\n",
        "[disk root]\nfile=../x\nfull=yes\n",
        "[disk root]\nfull=yes\n",
        "[disk root]\nfile=a.qcow2\n",
        "[point]\nparent=../../x\n",
        "[point]\nparent=monday\n",
        "[point]\nkind=half\n",
        "[point]\nseed=../seed.iso\n",
        "[disk ../x]\nfile=a\nfull=yes\n",
    };
    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(LodgePoint) point = parse(texts[i], &error);
        g_assert_null(point);
        g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INVALID);
    }
}

static void
test_names(void)
{
    static const char *const none[] = {
        "",
        "20261121",
        "20261121-15442",
        "20261121-1544233",
        "20261321-154423",
        "2026112",
        "20261121_154423",
        "backup.conf",
        "lock",
        "20261121-256060",
        "-0261121-154423",
    };
    g_autofree char *name = lodge_point_name(1795275863);
    g_assert_cmpstr(name, ==, "20261121-154423");
    g_assert_cmpint(lodge_point_time(name), ==, 1795275863);
    for (gsize i = 0; i < G_N_ELEMENTS(none); i++) {
        g_assert_cmpint(lodge_point_time(none[i]), ==, -1);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/model/point/round", test_round);
    g_test_add_func("/model/point/refused", test_refused);
    g_test_add_func("/model/point/names", test_names);
    return g_test_run();
}
