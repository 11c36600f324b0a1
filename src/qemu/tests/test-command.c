/* Golden pairs: tests/golden/NAME.conf is a definition, NAME.args the command line that follows.
 * LODGE_TEST_REGENERATE=1 writes the second anew. */
#include "config.h"

#include "base/base.h"
#include "qemu/command.h"
#include "qemu/disks.h"

#include <string.h>

static char *golden;

static GPtrArray *
chain_of(const LodgeDisk *disk, const char *backing)
{
    GPtrArray *chain = g_ptr_array_new_with_free_func((GDestroyNotify)lodge_layer_free);
    LodgeLayer *top = g_new0(LodgeLayer, 1);
    top->is_remote = lodge_disk_is_remote(disk->file);
    top->path = g_path_is_absolute(disk->file) || top->is_remote
                    ? g_strdup(disk->file)
                    : g_build_filename("/guests/web1", disk->file, NULL);
    top->format = g_strdup(disk->format == LODGE_FORMAT_RAW ? "raw" : "qcow2");
    top->is_block_device = g_str_has_prefix(disk->file, "/dev/");
    g_ptr_array_add(chain, top);
    if (backing != NULL && disk->format == LODGE_FORMAT_QCOW2) {
        LodgeLayer *below = g_new0(LodgeLayer, 1);
        below->path = g_strdup(backing);
        below->format = g_strdup("qcow2");
        g_ptr_array_add(chain, below);
    }
    return chain;
}

/* Arguments, an option and its value on one line; then what is passed. */
static char *
render(const LodgeCommand *command)
{
    static const char *const kinds[] = {"read", "write", "append", "copy", "listen", "open"};
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint i = 0; i + 1 < command->argv->len; i++) {
        const char *argument = command->argv->pdata[i];
        g_string_append_printf(text, "%s%s", i == 0 ? "" : *argument == '-' ? "\n" : " ", argument);
    }
    g_string_append(text, "\n\n");
    for (guint i = 0; i < command->passed->len; i++) {
        const LodgePass *pass = command->passed->pdata[i];
        g_string_append_printf(text, "%d %s %s\n", pass->fd, kinds[pass->kind], pass->path);
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}

/* As the keeper opens them. */
static LodgeTap *
taps_of(const LodgeGuest *guest, gboolean kvm)
{
    static char link[] = "lg123";
    LodgeTap *taps = g_new0(LodgeTap, guest->nics->len + 1);
    for (guint i = 0; i < guest->nics->len; i++) {
        const LodgeNic *nic = guest->nics->pdata[i];
        gboolean is_user = g_str_equal(nic->network, "user");
        taps[i] = (LodgeTap){is_user ? NULL : link, is_user ? -1 : 100, kvm ? 101 : -1};
    }
    return taps;
}

static void
test_golden(gconstpointer data)
{
    const char *name = data;
    g_autoptr(GError) error = NULL;
    g_autofree char *conf_name = g_strconcat(golden, "/", name, ".conf", NULL);
    g_autofree char *args_name = g_strconcat(golden, "/", name, ".args", NULL);
    g_autofree char *conf = lodge_file_read(conf_name, 65536, NULL, &error);
    g_assert_no_error(error);
    g_autoptr(LodgeGuest) guest = lodge_guest_parse("web1", conf, strlen(conf), &error);
    g_assert_no_error(error);
    g_autoptr(GPtrArray) chains = g_ptr_array_new_with_free_func((GDestroyNotify)g_ptr_array_unref);
    for (guint i = 0; i < guest->disks->len; i++) {
        g_ptr_array_add(chains, chain_of(guest->disks->pdata[i],
                                         guest->image != NULL ? "/images/i/disk.qcow2" : NULL));
    }
    gboolean kvm = guest->accel == LODGE_ACCEL_KVM;
    g_autofree LodgeTap *taps = taps_of(guest, kvm);
    LodgeMachine machine = {
        .program = "/usr/bin/qemu-system-x86_64",
        .guest_folder = "/guests/web1",
        .run_folder = "/run/web1",
        .kvm = kvm,
        .ssh_port = 20001,
        .firmware_code = "/ovmf/code.fd",
        .firmware_vars = "/guests/web1/nvram.qcow2",
        .seed_text = guest->provision == LODGE_PROVISION_LODGE ? "/guests/web1/seed.txt" : NULL,
        .seed_disk = guest->provision == LODGE_PROVISION_NOCLOUD ? "/guests/web1/seed.iso" : NULL,
        .taps = taps,
        .chains = chains,
    };
    g_autoptr(LodgeCommand) command = lodge_qemu_command(guest, &machine, &error);
    g_assert_no_error(error);
    g_autofree char *rendered = render(command);
    if (g_getenv("LODGE_TEST_REGENERATE") != NULL) {
        g_assert_true(lodge_file_write(args_name, rendered, strlen(rendered), 0644,
                                       LODGE_WRITE_NO_SYNC, NULL));
    }
    g_autofree char *expected = lodge_file_read(args_name, 1 << 20, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(rendered, ==, expected);
}

static void
test_passt(void)
{
    g_autoptr(GError) error = NULL;
    LodgeNic nic = {.name = (char *)"lan",
                    .forward = (char *)"8080:80 0.0.0.0:5353:53/udp [::1]:8443:443"};
    g_autoptr(LodgeCommand)
        command = lodge_passt_command("/usr/bin/passt", &nic, 20001, "127.0.0.53", 5, &error);
    g_assert_no_error(error);
    g_autofree char *rendered = render(command);
    g_assert_cmpstr(rendered, ==,
                    "/usr/bin/passt\n--foreground\n--quiet\n--no-map-gw\n--fd 10\n"
                    "--address 10.0.2.15\n--netmask 24\n--gateway 10.0.2.2\n"
                    "--dns-forward 10.0.2.3\n--dns 10.0.2.3\n--dns-host 127.0.0.53\n"
                    "--tcp-ports 127.0.0.1/20001:22\n"
                    "--tcp-ports 127.0.0.1/8080:80\n--udp-ports 0.0.0.0/5353:53\n"
                    "--tcp-ports ::1/8443:443\n\n10 open passt\n");
    nic.forward = (char *)"80:80:80:80";
    g_assert_null(lodge_passt_command("/usr/bin/passt", &nic, 0, NULL, 5, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_USAGE);
}

/* Of two NICs on `user`, the first has a passt, and QEMU has neither SSH's port nor forwards there.
 */
static void
test_passt_is_plugged_in(void)
{
    static const char conf[] = "[guest]\nmemory=1G\n[nic a]\nnetwork=user\n"
                               "mac=52:54:00:00:00:01\nforward=8080:80\n"
                               "[nic b]\nnetwork=user\nmac=52:54:00:00:00:02\n";
    g_autoptr(GError) error = NULL;
    g_autoptr(LodgeGuest) guest = lodge_guest_parse("web1", conf, strlen(conf), &error);
    g_assert_no_error(error);
    g_autoptr(GPtrArray) chains = g_ptr_array_new();
    LodgeTap taps[] = {{.link = (char *)"passt", .fd = 100, .vhost_fd = -1, .is_socket = TRUE},
                       {.fd = -1, .vhost_fd = -1}};
    LodgeMachine machine = {.program = "q",
                            .guest_folder = "/g",
                            .run_folder = "/r",
                            .ssh_port = 20001,
                            .taps = taps,
                            .chains = chains};
    g_autoptr(LodgeCommand) command = lodge_qemu_command(guest, &machine, &error);
    g_assert_no_error(error);
    g_autofree char *rendered = render(command);
    g_assert_nonnull(strstr(rendered, "\n-netdev stream,id=n0,server=on,addr.type=fd,addr.str="));
    g_assert_nonnull(strstr(rendered, "\n-netdev user,id=n1\n"));
    g_assert_null(strstr(rendered, "hostfwd"));
}

static void
refuse(const char *conf, LodgeError code)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LodgeGuest) guest = lodge_guest_parse("web1", conf, strlen(conf), &error);
    g_assert_no_error(error);
    g_autoptr(GPtrArray) chains = g_ptr_array_new();
    LodgeMachine machine = {
        .program = "q", .guest_folder = "/g", .run_folder = "/r", .chains = chains};
    g_assert_null(lodge_qemu_command(guest, &machine, &error));
    g_assert_error(error, LODGE_ERROR, (int)code);
}

static void
test_refused(void)
{
    refuse("[nic a]\nmac=52:54:00:00:00:01\nnetwork=lan\n", LODGE_ERROR_NOT_FOUND);
    refuse("[nic a]\nmac=52:54:00:00:00:01\nforward=[::1]:80:80\n", LODGE_ERROR_UNSUPPORTED);
}

static char *
memory_of(LodgeMemoryUse use)
{
    static const char conf[] = "[guest]\nmemory=512M\n";
    g_autoptr(GError) error = NULL;
    g_autoptr(LodgeGuest) guest = lodge_guest_parse("web1", conf, strlen(conf), &error);
    g_assert_no_error(error);
    g_autoptr(GPtrArray) chains = g_ptr_array_new();
    LodgeMachine machine = {.program = "q",
                            .guest_folder = "/g",
                            .run_folder = "/r",
                            .chains = chains,
                            .memory_use = use,
                            .memory_file = use != LODGE_MEMORY_OWN ? "/warm/memory" : NULL,
                            .memory_fd = 5};
    g_autoptr(LodgeCommand) command = lodge_qemu_command(guest, &machine, &error);
    g_assert_no_error(error);
    for (guint i = 0; i + 1 < command->argv->len; i++) {
        const char *argument = command->argv->pdata[i];
        if (g_str_has_prefix(argument, "memory-backend")) {
            return g_strdup(argument);
        }
    }
    return NULL;
}

/* Devices come and go, and a copy has them where they were: `b` went, `c` came. */
static void
test_layout(void)
{
    static const char conf[] = "[disk a]\nfile=a\n[disk c]\nfile=c\n"
                               "[nic n]\nmac=52:54:00:00:00:01\n";
    g_autoptr(GError) error = NULL;
    g_autoptr(LodgeGuest) guest = lodge_guest_parse("web1", conf, strlen(conf), &error);
    g_assert_no_error(error);
    g_autoptr(GPtrArray) chains = g_ptr_array_new_with_free_func((GDestroyNotify)g_ptr_array_unref);
    g_ptr_array_add(chains, chain_of(guest->disks->pdata[0], NULL));
    g_ptr_array_add(chains, chain_of(guest->disks->pdata[1], NULL));
    LodgeMachine machine = {.program = "q",
                            .guest_folder = "/g",
                            .run_folder = "/r",
                            .chains = chains,
                            .layout = "nic-n=port3 disk-c=port4 port2=4.0 port1=3.0 port3=5.0 "
                                      "port4=9.0 disk-a=port1"};
    g_autoptr(LodgeCommand) command = lodge_qemu_command(guest, &machine, &error);
    g_assert_no_error(error);
    g_autofree char *text = render(command);
    static const char *const wanted[] = {
        "pcie-root-port,id=port1,chassis=1,slot=1,addr=3.0",
        "pcie-root-port,id=port4,chassis=4,slot=4,addr=9.0", "virtio-blk-pci,bus=port1,id=disk-a,",
        "virtio-blk-pci,bus=port4,id=disk-c,", "virtio-net-pci,bus=port3,id=nic-n,"};
    for (gsize i = 0; i < G_N_ELEMENTS(wanted); i++) {
        g_assert_nonnull(strstr(text, wanted[i]));
    }
    g_assert_null(strstr(text, "port5"));
}

/* What the guest writes reaches the file only when it is parked. */
static void
test_memory(void)
{
#define FILE_BACKEND "memory-backend-file,id=ram,size=512M,mem-path=/proc/self/fd/10,"
    g_autofree char *own = memory_of(LODGE_MEMORY_OWN);
    g_autofree char *written = memory_of(LODGE_MEMORY_WRITTEN);
    g_autofree char *copied = memory_of(LODGE_MEMORY_COPIED);
    g_autofree char *read_only = memory_of(LODGE_MEMORY_READ_ONLY);
    g_assert_cmpstr(own, ==, "memory-backend-ram,id=ram,size=512M");
    g_assert_cmpstr(written, ==, FILE_BACKEND "share=on");
    g_assert_cmpstr(copied, ==, FILE_BACKEND "share=off");
    g_assert_cmpstr(read_only, ==, FILE_BACKEND "share=off,readonly=on,rom=off");
}

static void
test_remote(void)
{
    static const char *const good[] = {"nbd://h", "nbd://h:1/a", "nbd://[::1]:1/a/b", "rbd:p/i",
                                       "rbd:p/n/i"};
    static const char *const bad[] = {
        "nbd:",   "nbd://", "nbd:///a",    "nbd://u@h/x",         "nbd://h/x?y=1", "rbd:p",
        "rbd:p/", "rbd:/i", "rbd:p/n/m/i", "rbd:p/i:conf=/etc/x", "rbd:p/i@snap"};
    for (gsize i = 0; i < G_N_ELEMENTS(good); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(json_t) node = lodge_disk_remote(good[i], &error);
        g_assert_no_error(error);
        g_assert_nonnull(node);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_true(lodge_disk_is_remote(bad[i]));
        g_assert_null(lodge_disk_remote(bad[i], &error));
        g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INVALID);
    }
    g_autoptr(GError) error = NULL;
    g_assert_null(lodge_disk_chain("nbd://h/a", "qcow2", &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_UNSUPPORTED);
}

static void
test_boot_order(void)
{
    static const char conf[] = "[disk a]\nfile=a\n[disk b]\nfile=b\n[cdrom cd]\n"
                               "[nic n]\nmac=52:54:00:00:00:01\n";
    g_autoptr(GError) error = NULL;
    g_autoptr(LodgeGuest) guest = lodge_guest_parse("web1", conf, strlen(conf), &error);
    g_assert_no_error(error);
    g_autoptr(json_t) order = lodge_boot_indexes(guest, "cdrom,disk");
    g_autoptr(json_t)
        expected = json_pack("{s:i, s:i, s:i}", "cdrom-cd", 1, "disk-a", 101, "disk-b", 102);
    g_assert_true(json_equal(order, expected));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    golden = argv[1];
    g_auto(GStrv) names = lodge_dir_names(golden, NULL);
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        if (g_str_has_suffix(names[i], ".conf")) {
            names[i][strlen(names[i]) - strlen(".conf")] = '\0';
            g_autofree char *path = g_strconcat("/qemu/command/", names[i], NULL);
            g_test_add_data_func(path, names[i], test_golden);
        }
    }
    g_test_add_func("/qemu/command/refused", test_refused);
    g_test_add_func("/qemu/command/layout", test_layout);
    g_test_add_func("/qemu/command/memory", test_memory);
    g_test_add_func("/qemu/passt/command", test_passt);
    g_test_add_func("/qemu/passt/plugged-in", test_passt_is_plugged_in);
    g_test_add_func("/qemu/disks/remote", test_remote);
    g_test_add_func("/qemu/disks/boot-order", test_boot_order);
    return g_test_run();
}
