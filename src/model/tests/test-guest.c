#include "config.h"

#include "base/base.h"
#include "model/model.h"

#include <string.h>

static LodgeGuest *
parse(const char *text, GError **error)
{
    return lodge_guest_parse("web1", text, strlen(text), error);
}

static void
test_defaults(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LodgeGuest) guest = parse("[guest]\n", &error);
    g_assert_no_error(error);
    g_assert_cmpuint(guest->cpus, ==, 2);
    g_assert_cmpuint(guest->memory_bytes, ==, 1 << 30);
    g_assert_cmpint(guest->accel, ==, LODGE_ACCEL_AUTO);
    g_assert_cmpint(guest->on_crash, ==, LODGE_CRASH_STOP);
    g_assert_cmpstr(guest->user, ==, "root");
}

static void
test_everything(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LodgeGuest) guest = parse("# mine\n[guest]\nos=debian-12\ncpus=4\nmemory=2G\n"
                                        "firmware=uefi\non-crash=restart\nautostart=yes\n\n"
                                        "[disk root]\nfile=root.qcow2\nsize=20G\n\n"
                                        "[disk data]\nfile=/srv/data.raw\nformat=raw\n"
                                        "[nic lan]\nmac=52:54:00:AB:CD:EF\nforward=8080:80\n"
                                        "network=lan\ntrunk=10,20-29\n",
                                        &error);
    g_assert_no_error(error);
    g_assert_cmpuint(guest->disks->len, ==, 2);
    const LodgeDisk *data = guest->disks->pdata[1];
    g_assert_cmpstr(data->name, ==, "data");
    g_assert_cmpint(data->format, ==, LODGE_FORMAT_RAW);
    const LodgeNic *nic = guest->nics->pdata[0];
    g_assert_cmpstr(nic->mac, ==, "52:54:00:ab:cd:ef");
    g_assert_cmpstr(nic->network, ==, "lan");
    g_assert_cmpstr(nic->trunk, ==, "10 20-29");
    g_assert_cmpint(guest->firmware, ==, LODGE_FIRMWARE_UEFI);
    g_assert_true(guest->autostart);
}

static void
test_limits(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LodgeGuest) plain = parse("[guest]\n", &error);
    g_assert_no_error(error);
    g_assert_cmpuint(plain->limits.cpu_percent, ==, 0);
    g_assert_cmpuint(plain->limits.cpu_weight, ==, 100);
    g_autoptr(LodgeGuest) guest = parse("[guest]\nmemory=1G\nballoon=auto\n[limits]\ncpu=150%\n"
                                        "cpu-weight=50\nmemory-max=1088M\nio-weight=10\n"
                                        "pids-max=100\n",
                                        &error);
    g_assert_no_error(error);
    g_assert_cmpuint(guest->limits.cpu_percent, ==, 150);
    g_assert_cmpuint(guest->limits.cpu_weight, ==, 50);
    g_assert_cmpuint(guest->limits.memory_max_bytes, ==, G_GUINT64_CONSTANT(1088) << 20);
    g_assert_cmpuint(guest->limits.io_weight, ==, 10);
    g_assert_cmpuint(guest->limits.pids_max, ==, 100);
    g_assert_cmpint(guest->balloon, ==, LODGE_BALLOON_AUTO);
    g_assert_cmpuint(lodge_guest_memory_floor(guest), ==, G_GUINT64_CONSTANT(256) << 20);
}

static void
test_refused(void)
{
    static const struct {
        const char *text;
        const char *says;
    } bad[] = {
        {"[guest]\nmemry=2G\n",
         "guest web1: line 2: unknown key “memry” in [guest] (did you mean “memory”?)"},
        {"[gest]\n", "guest web1: line 1: unknown section [gest] (did you mean “guest”?)"},
        {"[limits]\ncpu=much\n",
         "guest web1: line 2: cpu: “much” is not a percentage (write it like 150%)"},
        {"[guest]\nmemory=1G\n[limits]\nmemory-max=1G\n",
         "guest web1: [limits] memory-max= must be 1088M at least: QEMU needs 64M besides the "
         "guest's memory"},
        {"[limits]\npids-max=9\n",
         "guest web1: [limits] pids-max= must be 82 at least: so many threads QEMU may need"},
        {"[guest]\nmemory=1G\nmemory-min=2G\n", "guest web1: memory-min= is more than memory="},
        {"[guest]\n\nmemory=2Q\n",
         "guest web1: line 3: memory: “2Q” is not a size (write it like 512M, 20G or 1.5T)"},
        {"[guest]\ncpus=0\n", "guest web1: line 2: cpus: 0 is less than the least, 1"},
        {"[guest]\naccel=kvn\n",
         "guest web1: line 2: accel: “kvn” must be one of auto, kvm, tcg (did you mean “kvm”?)"},
        {"[disk]\nfile=a\n", "guest web1: line 1: [disk] wants a name: [disk NAME]"},
        {"[guest x]\n", "guest web1: line 1: [guest …] has no name of its own: [guest]"},
        {"[disk root]\nsize=2G\n", "guest web1: [disk root] has no file="},
        {"[guest]\ncpus=1\n[guest]\n", "guest web1: line 3: [guest] stands twice"},
        {"[guest]\ncpus=1\ncpus=2\n", "guest web1: line 3: cpus stands twice"},
        {"[nic n]\nmac=01:00:00:00:00:00\n",
         "guest web1: line 2: mac: “01:00:00:00:00:00” is not a unicast MAC address (like "
         "52:54:00:12:34:56)"},
        {"[nic n]\nmac=52:54:00:00:00:01\nnetwork=lan\ntrunk=10 4095\n",
         "guest web1: line 4: trunk: “4095” is neither a VLAN (1 to 4094) nor a range of them "
         "(20-29)"},
        {"[nic n]\nmac=52:54:00:00:00:01\nnetwork=lan\ntrunk=20-19\n",
         "guest web1: line 4: trunk: “20-19” is neither a VLAN (1 to 4094) nor a range of them "
         "(20-29)"},
        {"[nic n]\nmac=52:54:00:00:00:01\nvlan=7\n",
         "guest web1: [nic n] vlan= and trunk= are for bridged networks, not network=user"},
        {"[guest]\nuser=Root;rm\n",
         "guest web1: line 2: user: “Root;rm” can't be a login name (a-z, 0-9, - and _, at most "
         "32, beginning with a letter)"},
        {"[disk ../x]\nfile=a\n",
         "guest web1: line 1: “../x” can't be the disk's name: use a-z, 0-9 and “-”, with a letter "
         "or digit at both ends"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(parse(bad[i].text, &error));
        g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INVALID);
        g_assert_cmpstr(error->message, ==, bad[i].says);
    }
}

static void
test_not_text(void)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(lodge_guest_parse("web1", "[guest]\0x", 9, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INVALID);
    g_clear_error(&error);
    g_assert_null(parse("cpus=2\n", &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INVALID);
    g_clear_error(&error);
    g_assert_null(parse("[guest]\ndescription=\xff\xfe\n", &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INVALID);
}

static void
test_tables_are_sound(void)
{
    for (const LodgeSection *section = lodge_guest_sections(); section->name != NULL; section++) {
        for (gsize i = 0; i < section->key_count; i++) {
            const LodgeKey *key = &section->keys[i];
            g_assert_nonnull(key->help);
            gboolean chooses = key->type == LODGE_TYPE_CHOICE || key->type == LODGE_TYPE_WORD ||
                               key->type == LODGE_TYPE_WORDS;
            g_assert_true(chooses == (key->choices != NULL));
            g_autoptr(GError) error = NULL;
            g_assert_true(key->fallback == NULL ||
                          lodge_schema_value(key, key->fallback, NULL, &error));
            g_assert_no_error(error);
        }
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/model/guest/defaults", test_defaults);
    g_test_add_func("/model/guest/everything", test_everything);
    g_test_add_func("/model/guest/limits", test_limits);
    g_test_add_func("/model/guest/refused", test_refused);
    g_test_add_func("/model/guest/not-text", test_not_text);
    g_test_add_func("/model/guest/tables", test_tables_are_sound);
    return g_test_run();
}
