#include "config.h"

#include "ops/definition.h"

#include <pwd.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "image/image.h"
#include "net/define.h"
#include "ops/assign.h"
#include "ops/forking.h"
#include "ops/password.h"
#include "qemu/img.h"
#include "qemu/variables.h"
#include "qemu/qcow2.h"

#define MORE_DISK "disk%zu.qcow2"

enum {
    KEYS_LIMIT_BYTES = 256 << 10,
    USER_DATA_LIMIT_BYTES = 1 << 20,
};

static const char *const kernel_keys[] = {"kernel", "initrd", "kernel-arguments"};

typedef struct {
    const char *option;
    const char *section;
    const char *key;
    const char *value;
} Setting;

/* What the options set, and where. @settings has room for 16. */
static gsize
list_settings(const LodgeCreate *what, Setting *settings)
{
    const Setting all[] = {
        {"--cpus", "guest", "cpus", what->cpus},
        {"--memory", "guest", "memory", what->memory},
        {"--firmware", "guest", "firmware", what->firmware},
        {"--profile", "guest", "profile", what->profile},
        {"--accel", "guest", "accel", what->accel},
        {"--user", "guest", "user", what->user},
        {"--description", "guest", "description", what->description},
        {"--os", "guest", "os", what->os},
        {"--image", "guest", "image", what->image},
        {"--size", "disk", "size", what->size},
    };
    gsize count = 0;
    for (gsize i = 0; i < G_N_ELEMENTS(all); i++) {
        if (all[i].value != NULL) {
            settings[count++] = all[i];
        }
    }
    return count;
}

static const LodgeKey *
key_of(const Setting *setting)
{
    const LodgeSection *section = lodge_section_find(lodge_guest_sections(), setting->section);
    return lodge_section_key(section, setting->key);
}

static void
set(GKeyFile *file, const char *group, const char *key, const char *value)
{
    if (value != NULL) {
        g_key_file_set_string(file, group, key, value);
    }
}

/* The NICs are called net, net2, net3 …, as they may move to other networks. */
static char *
nic_group(guint i)
{
    return i == 0 ? g_strdup("nic net") : g_strdup_printf("nic net%u", i + 1);
}

/* Networks there are, and where ports are forwarded, one that can. */
static gboolean
check_networks(const LodgeStore *store, const LodgeCreate *what, GError **error)
{
    for (gsize i = 0; what->networks != NULL && what->networks[i] != NULL; i++) {
        const char *name = what->networks[i];
        g_autoptr(GError) problem = NULL;
        g_autoptr(LodgeNetwork) network = g_str_equal(name, LODGE_NETWORK_USER)
                                              ? NULL
                                              : lodge_store_network(store, name, &problem);
        gboolean forwards = i == 0 && what->forwards != NULL && what->forwards[0] != NULL;
        if (network != NULL && forwards && network->mode != LODGE_NETWORK_NAT) {
            return lodge_error_set(
                error, LODGE_ERROR_USAGE,
                "--forward: network %s is %s, and ports are forwarded by nat and "
                "user networks only",
                name, lodge_network_mode_word(network));
        }
        if (problem != NULL && !g_str_equal(name, LODGE_NETWORK_DEFAULT)) {
            g_propagate_prefixed_error(error, g_steal_pointer(&problem), "--network: ");
            return FALSE;
        }
    }
    return TRUE;
}

/* What create has options of its own for, as more hangs on it than a key. */
static gboolean
check_has_no_option(const char *assignment, GError **error)
{
    static const char *const options[][2] = {
        {"os=*", "--os"},
        {"image=*", "--image"},
        {"disk.*.file=*", "--disk"},
        {"disk.*.size=*", "--size"},
        {"nic.*.network=*", "--network"},
        {"nic.*.forward=*", "--forward"},
        {"user=*", "--user"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(options); i++) {
        if (g_pattern_match_simple(options[i][0], assignment)) {
            return lodge_error_set(error, LODGE_ERROR_USAGE, "%s: that is for %s to say",
                                   assignment, options[i][1]);
        }
    }
    return TRUE;
}

/* Keys that there are, of the disk and the NICs that the guest will have, and values they take. */
static gboolean
check_assignments(const LodgeCreate *what, GError **error)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    guint nics = what->networks != NULL ? g_strv_length((char **)what->networks) : 1;
    set(file, "disk root", "format", "raw");
    for (guint i = 0; i < nics; i++) {
        g_autofree char *group = nic_group(i);
        set(file, group, "mac", "");
    }
    for (gsize i = 0; what->assignments != NULL && what->assignments[i] != NULL; i++) {
        if (!check_has_no_option(what->assignments[i], error) ||
            !assign(file, what->assignments[i], error)) {
            return FALSE;
        }
    }
    return TRUE;
}

gboolean
definition_check(const LodgeStore *store, const LodgeCreate *what, GError **error)
{
    Setting settings[16];
    gsize count = list_settings(what, settings);
    guint sources = (what->os != NULL) + (what->image != NULL) + (what->disk != NULL);
    if (!lodge_name_check("guest", what->name, error)) {
        return FALSE;
    }
    if (sources != 1) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "say what runs in %s: one of --os NAME (`lodge image list` shows "
                               "them), --image NAME or --disk FILE",
                               what->name);
    }
    for (gsize i = 0; i < count; i++) {
        if (!lodge_schema_value(key_of(&settings[i]), settings[i].value, NULL, error)) {
            return lodge_error_prefix(error, "%s", settings[i].option);
        }
    }
    for (gsize i = 0; what->forwards != NULL && what->forwards[i] != NULL; i++) {
        g_autoptr(GPtrArray) parsed = lodge_forwards_parse(what->forwards[i], error);
        if (parsed == NULL) {
            return lodge_error_prefix(error, "--forward");
        }
    }
    return check_networks(store, what, error) && check_assignments(what, error);
}

static void
set_choice(GKeyFile *file, const char *group, const char *key, int value)
{
    const LodgeSection *section = lodge_section_find(lodge_guest_sections(), group);
    g_autofree char *word = lodge_key_choice_word(lodge_section_key(section, key), value);
    set(file, group, key, word);
}

static void
set_from_image(GKeyFile *file, const Definition *definition, const LodgeImage *image)
{
    g_autofree char *cpus = g_strdup_printf("%u", image->cpus);
    g_autofree char *memory = lodge_size_format(image->memory_bytes);
    set(file, "guest", "image", image->name);
    set(file, "guest", "user", image->user);
    set(file, "guest", "cpus", cpus);
    set(file, "guest", "memory", memory);
    set(file, "guest", "agent", image->agent ? "yes" : "no");
    set_choice(file, "guest", "provision", image->provision);
    if (image->uefi_only) {
        set(file, "guest", "firmware", "uefi");
    }
    if (image->kernel != NULL) {
        const LodgeStore *store = definition->store;
        g_autofree char *kernel = lodge_store_image_path(store, image->name, image->kernel);
        g_autofree char *initrd = image->initrd != NULL
                                      ? lodge_store_image_path(store, image->name, image->initrd)
                                      : NULL;
        set(file, "guest", "kernel", kernel);
        set(file, "guest", "initrd", initrd);
        set(file, "guest", "kernel-arguments", image->kernel_arguments);
    }
}

static void
set_disk(GKeyFile *file, const Definition *definition, const LodgeImage *image)
{
    if (image != NULL) {
        guint64 size_bytes = image->size_bytes;
        if (definition->what->size != NULL) {
            lodge_size_parse(definition->what->size, &size_bytes, NULL);
        }
        g_autofree char *size = lodge_size_format(size_bytes);
        set(file, "disk root", "file", "root.qcow2");
        set(file, "disk root", "size", size);
        g_auto(GStrv) more = lodge_image_more(image);
        for (gsize i = 0; more[i] != NULL; i++) {
            g_autofree char *group = g_strdup_printf("disk disk%zu", i + 2);
            g_autofree char *name = g_strdup_printf(MORE_DISK, i + 2);
            set(file, group, "file", name);
        }
        return;
    }
    g_autofree char *path = g_canonicalize_filename(definition->what->disk, NULL);
    set(file, "disk root", "file", path);
    /* Seen once, here, while the file is its owner's; from now on the definition says it. */
    set(file, "disk root", "format", lodge_qcow2_is(path) ? "qcow2" : "raw");
}

static void
set_unless_there(GKeyFile *file, const char *group, const char *key, const char *value)
{
    if (!g_key_file_has_key(file, group, key, NULL)) {
        set(file, group, key, value);
    }
}

/* The addresses that the NIC will have, reserved from now on. */
static gboolean
set_addresses(GKeyFile *file, const Definition *definition, const LodgePort *port, const char *name,
              GError **error)
{
    g_autofree char *group = g_strconcat("nic ", port->nic, NULL);
    g_autoptr(LodgeNetwork) network = lodge_network_find(definition->store, name, error);
    g_auto(LodgeNetworkLease) lease = {NULL, NULL};
    if (network == NULL || !lodge_net_reserve(definition->store, network, port, &lease, error)) {
        return FALSE;
    }
    set_unless_there(file, group, "address", lease.address4);
    set_unless_there(file, group, "address6", lease.address6);
    return TRUE;
}

static void
name_nics(GKeyFile *file, const Definition *definition)
{
    const LodgeCreate *what = definition->what;
    for (guint i = 0; definition->networks[i] != NULL; i++) {
        g_autofree char *group = nic_group(i);
        g_autofree char *mac = lodge_mac_random();
        set(file, group, "network", definition->networks[i]);
        set(file, group, "mac", mac);
    }
    if (what->forwards != NULL && what->forwards[0] != NULL) {
        g_autofree char *forwards = g_strjoinv(" ", (char **)what->forwards);
        set(file, "nic net", "forward", forwards);
    }
}

static gboolean
address_nics(GKeyFile *file, const Definition *definition, GError **error)
{
    for (guint i = 0; definition->networks[i] != NULL; i++) {
        const char *network = definition->networks[i];
        g_autofree char *group = nic_group(i);
        g_autofree char *mac = g_key_file_get_string(file, group, "mac", NULL);
        if (mac == NULL) {
            return lodge_error_set(error, LODGE_ERROR_USAGE, "%s needs a mac", group);
        }
        LodgePort port = {
            .guest = (char *)definition->what->name, .nic = group + strlen("nic "), .mac = mac};
        if (!g_str_equal(network, LODGE_NETWORK_USER) &&
            !set_addresses(file, definition, &port, network, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean
set_assignments(GKeyFile *file, const LodgeCreate *what, GError **error)
{
    for (gsize i = 0; what->assignments != NULL && what->assignments[i] != NULL; i++) {
        if (!assign(file, what->assignments[i], error)) {
            return FALSE;
        }
    }
    /* The image's kernel is for a start without firmware's help; UEFI boots from the disk. */
    g_autofree char *firmware = g_key_file_get_string(file, "guest", "firmware", NULL);
    for (gsize i = 0; g_strcmp0(firmware, "uefi") == 0 && i < G_N_ELEMENTS(kernel_keys); i++) {
        g_key_file_remove_key(file, "guest", kernel_keys[i], NULL);
    }
    return TRUE;
}

static char *
render(const Definition *definition, const LodgeImage *image, GError **error)
{
    const LodgeCreate *what = definition->what;
    g_autoptr(GKeyFile) file = g_key_file_new();
    Setting settings[16];
    gsize count = list_settings(what, settings);
    if (what->os != NULL) {
        set(file, "guest", "os", what->os);
    }
    if (image != NULL) {
        set_from_image(file, definition, image);
    }
    for (gsize i = 0; i < count; i++) {
        if (g_str_equal(settings[i].section, "guest")) {
            g_autofree char *value = NULL;
            if (!lodge_schema_value(key_of(&settings[i]), settings[i].value, &value, error)) {
                return NULL;
            }
            set(file, "guest", settings[i].key, value);
        }
    }
    set_disk(file, definition, image);
    name_nics(file, definition);
    return set_assignments(file, what, error) && address_nics(file, definition, error)
               ? g_key_file_to_data(file, NULL, NULL)
               : NULL;
}

LodgeGuest *
definition_guest(const Definition *definition, const LodgeImage *image, GError **error)
{
    g_autofree char *text = render(definition, image, error);
    return text != NULL ? lodge_guest_parse(definition->what->name, text, strlen(text), error)
                        : NULL;
}

static gboolean
write_seed(const Definition *definition, const LodgeGuest *guest, const LodgeImage *image,
           const char *folder, GError **error)
{
    const LodgeCreate *what = definition->what;
    g_autofree char *hash = NULL;
    g_autofree char *user_data = NULL;
    if (what->password_file != NULL) {
        hash = lodge_password_hash_file(what->password_file, error);
        if (hash == NULL) {
            return FALSE;
        }
    }
    if (what->user_data != NULL) {
        user_data = lodge_file_read(what->user_data, USER_DATA_LIMIT_BYTES, NULL, error);
        if (user_data == NULL) {
            return lodge_error_prefix(error, "--user-data");
        }
    }
    if (guest->provision == LODGE_PROVISION_NONE || image == NULL) {
        return TRUE; /* nobody inside would read it */
    }
    g_autofree char *instance = lodge_uuid_random();
    g_autoptr(GPtrArray) macs = g_ptr_array_new();
    for (guint i = 0; i < guest->nics->len; i++) {
        g_ptr_array_add(macs, ((const LodgeNic *)guest->nics->pdata[i])->mac);
    }
    g_ptr_array_add(macs, NULL);
    LodgeSeed seed = {.kind = (LodgeProvision)guest->provision,
                      .hostname = guest->name,
                      .user = guest->user,
                      .password_hash = hash,
                      .authorized_keys = (const char *const *)definition->keys,
                      .groups = image->groups,
                      .shell = image->shell,
                      .macs = (const char *const *)macs->pdata,
                      .user_data = user_data,
                      .instance_id = instance};
    return lodge_seed_write(folder, &seed, error);
}

/* The root disk: an overlay of a parked machine's, which goes to @out_warm, or of the image's. */
static gboolean
make_disk(const Definition *definition, const LodgeGuest *guest, const LodgeImage *image,
          const char *path, LodgeWarm **out_warm, GError **error)
{
    const LodgeStore *store = definition->store;
    const LodgeDisk *root = guest->disks->pdata[0];
    g_autoptr(LodgeWarm) warm = definition->may_fork ? forking_find(store, guest, image) : NULL;
    if (warm != NULL &&
        lodge_warm_overlay(store, image->name, warm, path, root->size_bytes, NULL)) {
        *out_warm = g_steal_pointer(&warm);
        return TRUE;
    }
    g_autoptr(LodgeImage)
        now = lodge_image_overlay(store, image->name, path, root->size_bytes, error);
    if (now != NULL && g_strcmp0(now->disk, image->disk) != 0) {
        return lodge_error_set(error, LODGE_ERROR_BUSY,
                               "image %s was made anew just now (try again)", image->name);
    }
    return now != NULL;
}

/* What else the image has. */
static gboolean
make_more(const Definition *definition, const LodgeImage *image, const char *folder, GError **error)
{
    g_auto(GStrv) more = lodge_image_more(image);
    for (gsize i = 0; more[i] != NULL; i++) {
        g_autofree char *below = lodge_store_image_path(definition->store, image->name, more[i]);
        g_autofree char *name = g_strdup_printf(MORE_DISK, i + 2);
        g_autofree char *path = g_build_filename(folder, name, NULL);
        if (!lodge_img_create_overlay(path, below, "qcow2", 0, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

gboolean
definition_write(const Definition *definition, const char *folder, LodgeWarm **out_warm,
                 GError **error)
{
    const char *name = definition->what->name;
    g_autofree char *path = g_build_filename(folder, "guest.conf", NULL);
    g_autofree char *disk = g_build_filename(folder, "root.qcow2", NULL);
    g_autoptr(LodgeImage) image = NULL;
    *out_warm = NULL;
    if (definition->image_name != NULL) {
        image = lodge_store_image(definition->store, definition->image_name, error);
        if (image == NULL) {
            return FALSE;
        }
    }
    g_autofree char *text = render(definition, image, error);
    g_autoptr(LodgeGuest) guest = text != NULL ? lodge_guest_parse(name, text, strlen(text), error)
                                               : NULL;
    g_autofree char *variables = g_build_filename(folder, "nvram.qcow2", NULL);
    return guest != NULL &&
           (image == NULL || (make_more(definition, image, folder, error) &&
                              make_disk(definition, guest, image, disk, out_warm, error))) &&
           lodge_file_write(path, text, strlen(text), 0600, LODGE_WRITE_DEFAULT, error) &&
           lodge_variables_make(guest, variables, error) &&
           write_seed(definition, guest, image, folder, error);
}

static gboolean
add_keys_of(GPtrArray *keys, const char *path, GError **error)
{
    g_autofree char *text = lodge_file_read(path, KEYS_LIMIT_BYTES, NULL, error);
    if (text == NULL) {
        return lodge_error_prefix(error, "SSH key");
    }
    if (strstr(text, "PRIVATE KEY") != NULL) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "%s is a private key; give its public half, %s.pub", path, path);
    }
    g_auto(GStrv) lines = g_strsplit_set(text, "\r\n", -1);
    for (gsize i = 0; lines[i] != NULL; i++) {
        g_strstrip(lines[i]);
        if (*lines[i] != '\0' && *lines[i] != '#' && g_utf8_validate(lines[i], -1, NULL)) {
            g_ptr_array_add(keys, g_strdup(lines[i]));
        }
    }
    return TRUE;
}

/* Under sudo it is the user behind it who will want to log in. */
static char *
home_of_caller(void)
{
    const char *sudo_user = geteuid() == 0 ? g_getenv("SUDO_USER") : NULL;
    const struct passwd *entry = sudo_user != NULL ? getpwnam(sudo_user) : NULL;
    return g_strdup(entry != NULL ? entry->pw_dir : g_get_home_dir());
}

char **
definition_keys(const LodgeStore *store, const LodgeCreate *what, GError **error)
{
    g_autoptr(GPtrArray) keys = g_ptr_array_new_with_free_func(g_free);
    char *own = lodge_ssh_key(store, error);
    if (own == NULL) {
        return NULL;
    }
    g_ptr_array_add(keys, own);
    for (gsize i = 0; what->ssh_keys != NULL && what->ssh_keys[i] != NULL; i++) {
        if (!add_keys_of(keys, what->ssh_keys[i], error)) {
            return NULL;
        }
    }
    static const char *const names[] = {"id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub"};
    g_autofree char *home = home_of_caller();
    for (gsize i = 0; what->ssh_keys == NULL && i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = g_build_filename(home, ".ssh", names[i], NULL);
        add_keys_of(keys, path, NULL);
    }
    g_ptr_array_add(keys, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&keys), FALSE);
}
