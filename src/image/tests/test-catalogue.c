#include "config.h"

#include "image/tests/common.h"

#include <string.h>

#define HEX64 "e4ca4db889f8559c9b9dfcacc70405c038476f4b6d41649b152d3809a2ed9e1f"
#define OTHER64 "0000000000000000000000000000000000000000000000000000000000000000"
#define HEX128 HEX64 HEX64

static void
test_shipped(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) list = lodge_catalogue_list(test_store, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(list->len, >=, 10);
    for (guint i = 0; i < list->len; i++) {
        const LodgeImage *image = list->pdata[i];
        g_test_message("%s", image->name);
        g_assert_nonnull(image->title);
        g_assert_true(image->recipe != NULL || image->url != NULL);
        g_assert_cmpint(image->provision, !=, LODGE_PROVISION_NONE);
        g_assert_null(image->disk);
        if (image->url != NULL) {
            g_assert_true(g_str_has_prefix(image->url, "https://"));
            g_assert_true(g_str_has_prefix(image->checksums_url, "https://"));
            g_assert_cmpint(image->checksum_kind, !=, LODGE_CHECKSUM_NONE);
        }
        if (image->recipe == NULL) {
            g_assert_cmpint(image->provision, ==, LODGE_PROVISION_NOCLOUD);
        }
        if (i > 0) {
            g_assert_cmpstr(((LodgeImage *)list->pdata[i - 1])->name, <, image->name);
        }
    }
}

static void
test_find(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LodgeImage) debian = lodge_catalogue_find(test_store, "debian-12", &error);
    g_assert_no_error(error);
    g_assert_cmpstr(debian->recipe, ==, "debian");
    g_assert_cmpstr(debian->suite, ==, "bookworm");
    g_assert_null(lodge_catalogue_find(test_store, "debain-12", &error));
    test_assert_error(&error, LODGE_ERROR_NOT_FOUND, "did you mean “debian-12”");
    g_assert_null(lodge_catalogue_find(test_store, "../debian-12", &error));
    test_assert_error(&error, LODGE_ERROR_USAGE, "name");
}

static void
test_own_entries(void)
{
    g_autoptr(GError) error = NULL;
    test_entry("debian-12", "[image]\ntitle=Mine\n");
    test_entry("aaa", "[image]\ntitle=First\n");
    g_autoptr(LodgeImage) mine = lodge_catalogue_find(test_store, "debian-12", &error);
    g_assert_no_error(error);
    g_assert_cmpstr(mine->title, ==, "Mine");
    g_autoptr(GPtrArray) list = lodge_catalogue_list(test_store, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(((LodgeImage *)list->pdata[0])->name, ==, "aaa");
    test_entry("aaa", "[image]\ntitel=First\n");
    g_assert_null(lodge_catalogue_list(test_store, &error));
    test_assert_error(&error, LODGE_ERROR_INVALID, "catalogue/aaa.conf");
}

static void
assert_found(const char *text, LodgeChecksumKind kind, const char *file, gboolean alone,
             const char *expected)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *digits = lodge_checksum_find(text, kind, file, alone, &error);
    g_assert_cmpstr(digits, ==, expected);
    if (expected == NULL) {
        test_assert_error(&error, LODGE_ERROR_INVALID, "checksum");
    }
}

static void
test_checksums(void)
{
    static const struct {
        const char *text;
        LodgeChecksumKind kind;
        gboolean alone;
        const char *expected;
    } rows[] = {
        {HEX64 "  f.img\n", LODGE_CHECKSUM_SHA256, FALSE, HEX64},
        {OTHER64 "  other.img\n" HEX64 " *f.img\n", LODGE_CHECKSUM_SHA256, FALSE, HEX64},
        {HEX64 "  ./f.img\r\n", LODGE_CHECKSUM_SHA256, FALSE, HEX64},
        {"SHA256 (f.img) = " HEX64 "\n", LODGE_CHECKSUM_SHA256, FALSE, HEX64},
        {"SHA512 (f.img) = " HEX128, LODGE_CHECKSUM_SHA512, FALSE, HEX128},
        {"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n# f.img: 5 bytes\nSHA256 (f.img) "
         "= " HEX64 "\n-----BEGIN PGP SIGNATURE-----\n\niQIz" HEX64
         "\n-----END PGP SIGNATURE-----\n",
         LODGE_CHECKSUM_SHA256, FALSE, HEX64},
        {"E4CA4DB889F8559C9B9DFCACC70405C038476F4B6D41649B152D3809A2ED9E1F  f.img",
         LODGE_CHECKSUM_SHA256, FALSE, HEX64},
        {HEX128 "\n", LODGE_CHECKSUM_SHA512, FALSE, HEX128},
        {HEX64 "  f-20260101.img\n", LODGE_CHECKSUM_SHA256, TRUE, HEX64},
        {HEX64 "  f.img\n" HEX64 "  f.img\n", LODGE_CHECKSUM_SHA256, FALSE, HEX64},
        /* Not it. */
        {HEX64 "  f-20260101.img\n", LODGE_CHECKSUM_SHA256, FALSE, NULL},
        {HEX64 "  xf.img\n", LODGE_CHECKSUM_SHA256, FALSE, NULL},
        {HEX64 "  f.img.asc\n", LODGE_CHECKSUM_SHA256, FALSE, NULL},
        {HEX64 "  f.img\n" OTHER64 "  f.img\n", LODGE_CHECKSUM_SHA256, FALSE, NULL},
        {HEX64 "\n" OTHER64 "\n", LODGE_CHECKSUM_SHA256, TRUE, NULL},
        {HEX64 "  f.img\n", LODGE_CHECKSUM_SHA512, FALSE, NULL},
        {HEX128 "  f.img\n", LODGE_CHECKSUM_SHA256, FALSE, NULL},
        {"SHA512 (f.img) = " HEX64 "\n", LODGE_CHECKSUM_SHA256, FALSE, NULL},
        {"SHA256 (f.img", LODGE_CHECKSUM_SHA256, FALSE, NULL},
        {"SHA256 () = ", LODGE_CHECKSUM_SHA256, FALSE, NULL},
        {"SHA256 ) = " HEX64, LODGE_CHECKSUM_SHA256, FALSE, NULL},
        {"<html>404</html>", LODGE_CHECKSUM_SHA256, TRUE, NULL},
        {"", LODGE_CHECKSUM_SHA256, TRUE, NULL},
        {HEX64 "  f.img\n", LODGE_CHECKSUM_NONE, TRUE, NULL},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_test_message("row %d", (int)i);
        assert_found(rows[i].text, rows[i].kind, "f.img", rows[i].alone, rows[i].expected);
    }
}

static void
test_ovf(void)
{
    static const char *const rows[][2] = {
        {"<Envelope><References><File ovf:href='d.vmdk' ovf:id='1'/></References></Envelope>",
         "d.vmdk"},
        {"<e:Envelope xmlns:e='x'><e:References><e:File e:href='n.iso'/><e:File e:href='d.vmdk'/>"
         "</e:References></e:Envelope>",
         "d.vmdk"},
        {"<Envelope><References><File href='../../etc/passwd'/></References></Envelope>", NULL},
        {"<Envelope><References><File href='/etc/shadow'/></References></Envelope>", NULL},
        {"<Envelope><References><File href='-x.vmdk'/></References></Envelope>", NULL},
        {"<Envelope><File href='d.vmdk'/></Envelope>", NULL},
        {"<Envelope><References></Envelope>", NULL},
        {"garbage", NULL},
        {"", NULL},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_auto(GStrv) disks = lodge_ovf_disks(rows[i][0], strlen(rows[i][0]), &error);
        g_autofree char *joined = disks != NULL ? g_strjoinv(" ", disks) : NULL;
        g_assert_cmpstr(joined, ==, rows[i][1]);
        g_assert_true((disks == NULL) == (error != NULL));
    }
}

int
main(int argc, char **argv)
{
    test_begin(&argc, &argv);
    g_test_add_func("/image/catalogue/shipped", test_shipped);
    g_test_add_func("/image/catalogue/find", test_find);
    g_test_add_func("/image/catalogue/own", test_own_entries);
    g_test_add_func("/image/catalogue/checksums", test_checksums);
    g_test_add_func("/image/catalogue/ovf", test_ovf);
    return test_finish();
}
