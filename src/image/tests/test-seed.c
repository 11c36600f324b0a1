#include "config.h"

#include "image/tests/common.h"

#include <archive.h>
#include <archive_entry.h>
#include <string.h>
#include <sys/stat.h>

static const char *const keys[] = {"ssh-ed25519 AAAA me@host", "ssh-rsa BBBB \"quoted\" $(x)",
                                   NULL};
static const char *const macs[] = {"52:54:00:00:00:01", "52:54:00:00:00:02", NULL};

static LodgeSeed
example(int kind)
{
    return (LodgeSeed){
        .kind = kind,
        .hostname = "web1",
        .instance_id = "id-1",
        .user = "debian",
        .groups = "wheel",
        .shell = "/bin/bash",
        .password_hash = "$y$j9T$abc",
        .authorized_keys = keys,
    };
}

static void
test_text(void)
{
    g_autoptr(GError) error = NULL;
    LodgeSeed seed = example(LODGE_PROVISION_LODGE);
    lodge_seed_write(test_store->root, &seed, &error);
    g_assert_no_error(error);
    g_autofree char *path = test_path("seed.txt");
    g_autofree char *text = lodge_file_read(path, 4096, NULL, &error);
    g_assert_cmpstr(text, ==,
                    "hostname=web1\nuser=debian\npassword-hash=$y$j9T$abc\n"
                    "authorized-key=ssh-ed25519 AAAA me@host\n"
                    "authorized-key=ssh-rsa BBBB \"quoted\" $(x)\n");
    struct stat info;
    g_assert_cmpint(stat(path, &info), ==, 0);
    g_assert_cmpint(info.st_mode & 0777, ==, 0600);
    g_autofree char *nothing = lodge_seed_text(&(LodgeSeed){0}, &error);
    g_assert_cmpstr(nothing, ==, "");
    seed.kind = LODGE_PROVISION_NONE;
    g_assert_true(lodge_seed_write("/nonexistent", &seed, &error));
}

static void
test_refusals(void)
{
    static const char *const bad_keys[] = {"fine", "two\nuser=root", NULL};
    const LodgeSeed seeds[] = {
        {.kind = LODGE_PROVISION_LODGE, .hostname = "a\nb"},
        {.kind = LODGE_PROVISION_LODGE, .user = "a\rb"},
        {.kind = LODGE_PROVISION_LODGE, .authorized_keys = bad_keys},
        {.kind = LODGE_PROVISION_LODGE, .user_data = "#cloud-config\n"},
        {.kind = LODGE_PROVISION_NOCLOUD, .hostname = "a\nb"},
        {.kind = LODGE_PROVISION_NOCLOUD, .authorized_keys = bad_keys},
        {.kind = LODGE_PROVISION_NOCLOUD, .user = "\xff\xfe"},
        {.kind = LODGE_PROVISION_NOCLOUD, .password_hash = "a\x1b[0m"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(seeds); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_false(lodge_seed_write(test_store->root, &seeds[i], &error));
        test_assert_error(&error, LODGE_ERROR_USAGE, "");
    }
    g_assert_false(test_exists("seed.iso"));
}

static void
test_user_data(void)
{
    g_autoptr(GError) error = NULL;
    LodgeSeed seed = example(LODGE_PROVISION_NOCLOUD);
    g_autofree char *text = lodge_cloud_user_data(&seed, &error);
    g_assert_cmpstr(text, ==,
                    "#cloud-config\nhostname: \"web1\"\nusers:\n  - name: \"debian\"\n"
                    "    shell: \"/bin/bash\"\n    groups: \"wheel\"\n"
                    "    sudo: \"ALL=(ALL) NOPASSWD:ALL\"\n    lock_passwd: false\n"
                    "    passwd: \"$y$j9T$abc\"\n    hashed_passwd: \"$y$j9T$abc\"\n"
                    "    ssh_authorized_keys:\n      - \"ssh-ed25519 AAAA me@host\"\n"
                    "      - \"ssh-rsa BBBB \\\"quoted\\\" $(x)\"\n"
                    "ssh_genkeytypes: [\"ed25519\"]\nlocale: false\n");
    LodgeSeed bare = {.kind = LODGE_PROVISION_NOCLOUD, .hostname = "x"};
    g_autofree char *root = lodge_cloud_user_data(&bare, &error);
    g_assert_cmpstr(root, ==,
                    "#cloud-config\nhostname: \"x\"\ndisable_root: false\nusers:\n"
                    "  - name: \"root\"\n    lock_passwd: true\n"
                    "ssh_genkeytypes: [\"ed25519\"]\nlocale: false\nssh_pwauth: false\n");
}

static void
test_other_parts(void)
{
    g_autoptr(GError) error = NULL;
    LodgeSeed seed = example(LODGE_PROVISION_NOCLOUD);
    g_autofree char *meta = lodge_cloud_meta_data(&seed, &error);
    g_assert_cmpstr(meta, ==, "instance-id: \"id-1\"\nlocal-hostname: \"web1\"\n");
    g_autofree char *any = lodge_cloud_network_config(&seed, &error);
    g_assert_cmpstr(any, ==,
                    "version: 2\nethernets:\n  en:\n    match: {name: \"en*\"}\n    dhcp4: true\n"
                    "    dhcp6: true\n  eth:\n    match: {name: \"eth*\"}\n    dhcp4: true\n"
                    "    dhcp6: true\n");
    seed.macs = macs;
    g_autofree char *two = lodge_cloud_network_config(&seed, &error);
    g_assert_cmpstr(two, ==,
                    "version: 2\nethernets:\n  eth0:\n    match:\n"
                    "      macaddress: \"52:54:00:00:00:01\"\n    set-name: eth0\n"
                    "    dhcp4: true\n    dhcp6: true\n  eth1:\n    match:\n"
                    "      macaddress: \"52:54:00:00:00:02\"\n    set-name: eth1\n"
                    "    dhcp4: true\n    dhcp6: true\n");
}

static void
test_merged(void)
{
    g_autoptr(GError) error = NULL;
    LodgeSeed seed = example(LODGE_PROVISION_NOCLOUD);
    seed.user_data = "#!/bin/sh\necho ==lodge-0==";
    g_autofree char *script = lodge_cloud_user_data(&seed, &error);
    g_assert_true(g_str_has_prefix(script, "Content-Type: multipart/mixed; "
                                           "boundary=\"==lodge-1==\"\nMIME-Version: 1.0\n\n"
                                           "--==lodge-1==\nContent-Type: text/cloud-config;"));
    g_assert_true(g_str_has_suffix(script, "\n\n#!/bin/sh\necho ==lodge-0==\n--==lodge-1==--\n"));
    seed.user_data = "Content-Type: multipart/mixed; boundary=x\nMIME-Version: 1.0\n\n--x--\n";
    g_autofree char *nested = lodge_cloud_user_data(&seed, &error);
    g_assert_nonnull(strstr(nested, "--==lodge-0==\nContent-Type: multipart/mixed; boundary=x\n"));
}

/* Two readers who know nothing of us, if they are there. */
static void
test_foreign_readers(void)
{
    g_autoptr(GError) error = NULL;
    static const char script[] =
        "import sys, email\n"
        "message = email.message_from_string(sys.stdin.read())\n"
        "parts = [p for p in message.walk() if not p.is_multipart()]\n"
        "assert [p.get_content_type() for p in parts] == ['text/cloud-config', 'text/plain']\n"
        "assert parts[1].get_payload().strip() == '#cloud-config\\npackages: [a]'\n"
        "try:\n    import yaml\nexcept ImportError:\n    sys.exit(0)\n"
        "ours = yaml.safe_load(parts[0].get_payload())\n"
        "assert ours['users'][0]['ssh_authorized_keys'][1] == 'ssh-rsa BBBB \"quoted\" $(x)'\n"
        "assert ours['users'][0]['passwd'] == '$y$j9T$abc', ours\n";
    g_autofree char *python = lodge_program_find("python3");
    if (python == NULL) {
        g_test_skip("no python3");
        return;
    }
    LodgeSeed seed = example(LODGE_PROVISION_NOCLOUD);
    seed.user_data = "#cloud-config\npackages: [a]\n";
    g_autofree char *text = lodge_cloud_user_data(&seed, &error);
    const char *const argv[] = {python, "-c", script, NULL};
    lodge_process_run(&(LodgeProcess){.argv = argv, .input = text}, NULL, &error);
    g_assert_no_error(error);
}

static void
test_iso(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = test_path("seed.iso");
    LodgeSeed seed = example(LODGE_PROVISION_NOCLOUD);
    for (int i = 0; i < 2; i++) { /* a second time over the first */
        lodge_seed_write(test_store->root, &seed, &error);
        g_assert_no_error(error);
    }
    gsize length = 0;
    g_autofree char *bytes = lodge_file_read(path, 4 << 20, &length, &error);
    g_assert_cmpmem(bytes + 0x8000, 6, "\1CD001", 6);
    g_assert_cmpmem(bytes + 0x8028, 6, "cidata", 6);
    g_assert_nonnull(memmem(bytes, length, "RRIP", 4));
    struct stat info;
    g_assert_cmpint(stat(path, &info), ==, 0);
    g_assert_cmpint(info.st_mode & 0777, ==, 0600);
    struct archive *iso = archive_read_new();
    struct archive_entry *entry = NULL;
    archive_read_support_format_iso9660(iso);
    g_assert_cmpint(archive_read_open_filename(iso, path, 65536), ==, ARCHIVE_OK);
    g_autofree char *wanted = lodge_cloud_user_data(&seed, &error);
    guint found = 0;
    while (archive_read_next_header(iso, &entry) == ARCHIVE_OK) {
        const char *name = archive_entry_pathname(entry);
        found += g_str_equal(name, "meta-data") + g_str_equal(name, "network-config");
        if (g_str_equal(name, "user-data")) {
            char content[4096] = {0};
            g_assert_cmpint(archive_read_data(iso, content, sizeof content - 1), >, 0);
            g_assert_cmpstr(content, ==, wanted);
            found++;
        }
    }
    archive_read_free(iso);
    g_assert_cmpuint(found, ==, 3);
    g_autoptr(GDir) folder = g_dir_open(test_store->root, 0, NULL);
    for (const char *name; (name = g_dir_read_name(folder)) != NULL;) {
        g_assert_false(g_str_has_prefix(name, ".seed"));
    }
}

int
main(int argc, char **argv)
{
    test_begin(&argc, &argv);
    g_test_add_func("/image/seed/text", test_text);
    g_test_add_func("/image/seed/refusals", test_refusals);
    g_test_add_func("/image/seed/user-data", test_user_data);
    g_test_add_func("/image/seed/other-parts", test_other_parts);
    g_test_add_func("/image/seed/merged", test_merged);
    g_test_add_func("/image/seed/foreign-readers", test_foreign_readers);
    g_test_add_func("/image/seed/iso", test_iso);
    return test_finish();
}
