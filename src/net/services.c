#include "config.h"

#include "net/services.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/base.h"
#include "net/dnsmasq.h"
#include "net/nat64.h"
#include "net/net-private.h"

enum {
    END_TIMEOUT_MS = 10000,
    START_TIMEOUT_MS = 10000,
    RESOLV_LIMIT_BYTES = 65536,
};

void
lodge_service_free(LodgeService *service)
{
    if (service != NULL) {
        g_strfreev(service->argv);
        g_free(service->process_path);
        g_free(service->ready_path);
        g_free(service);
    }
}

static gboolean
wants_dnsmasq(const LodgeNetwork *network)
{
    return network->dhcp && (network->mode == LODGE_NETWORK_ROUTED ||
                             (lodge_network_has_own_bridge(network) && network->host));
}

static gboolean
wants_dns64(const LodgeNetwork *network)
{
    return network->nat64 && wants_dnsmasq(network);
}

static LodgeService *
make_service(const LodgeStore *store, const LodgeNetwork *network, const char *name,
             const char *ready_file, const char *const *arguments)
{
    g_autofree char *program = lodge_program_find(name);
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_ptr_array_add(argv, program != NULL ? g_steal_pointer(&program) : g_strdup(name));
    for (gsize i = 0; arguments[i] != NULL; i++) {
        g_ptr_array_add(argv, g_strdup(arguments[i]));
    }
    g_ptr_array_add(argv, NULL);
    g_autofree char *process = g_strconcat(name, ".process", NULL);
    LodgeService *service = g_new0(LodgeService, 1);
    service->name = name;
    service->argv = (char **)g_ptr_array_free(g_steal_pointer(&argv), FALSE);
    service->process_path = lodge_store_network_run_path(store, network->name, process);
    service->ready_path = ready_file != NULL
                              ? lodge_store_network_run_path(store, network->name, ready_file)
                              : NULL;
    return service;
}

GPtrArray *
lodge_net_services(const LodgeStore *store, const LodgeNetwork *network)
{
    GPtrArray *services = g_ptr_array_new_with_free_func((GDestroyNotify)lodge_service_free);
    if (network->nat64) {
        g_autofree char *path = lodge_store_network_run_path(store, network->name, "tayga.conf");
        g_autofree char *pid_file = lodge_store_network_run_path(store, network->name, "tayga.pid");
        const char *const arguments[] = {"--nodetach", "--config",  path,     "--user",
                                         "nobody",     "--pidfile", pid_file, NULL};
        g_ptr_array_add(services, make_service(store, network, "tayga", "tayga.pid", arguments));
    }
    if (wants_dns64(network)) {
        g_autofree char *path = lodge_store_network_run_path(store, network->name, "unbound.conf");
        const char *const arguments[] = {"-d", "-c", path, NULL};
        g_ptr_array_add(services,
                        make_service(store, network, "unbound", "unbound.pid", arguments));
    }
    if (wants_dnsmasq(network)) {
        g_autofree char *path = lodge_store_network_run_path(store, network->name, "dnsmasq.conf");
        g_autofree char *option = g_strconcat("--conf-file=", path, NULL);
        const char *const arguments[] = {"--keep-in-foreground", option, NULL};
        g_ptr_array_add(services,
                        make_service(store, network, "dnsmasq", "dnsmasq.pid", arguments));
    }
    return services;
}

/* A process's words, and how many bytes they are: none when it is already ending. */
static char *
words_of(pid_t pid, gsize *out_length)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/cmdline", (int)pid);
    char *words = NULL;
    *out_length = 0;
    g_file_get_contents(path, &words, out_length, NULL);
    return words;
}

/* Was process @pid called with these words? */
static gboolean
is_called(pid_t pid, char **argv)
{
    gsize length = 0;
    g_autofree char *words = words_of(pid, &length);
    gsize at = 0;
    for (gsize i = 0; argv[i] != NULL; i++) {
        gsize size = strlen(argv[i]) + 1;
        if (at + size > length || memcmp(words + at, argv[i], size) != 0) {
            return FALSE;
        }
        at += size;
    }
    return at == length;
}

static gboolean
read_pid(const LodgeService *service, guint64 *out_pid)
{
    g_autofree char *text = lodge_file_read(service->process_path, 64, NULL, NULL);
    return text != NULL &&
           g_ascii_string_to_unsigned(g_strchomp(text), 10, 2, G_MAXINT32, out_pid, NULL);
}

/* One that is ending has no words any more, so that it can't be told whose it is, but may have its
 * sockets still, which its successor wants. */
static void
await_ending(const LodgeService *service)
{
    guint64 pid = 0;
    gsize length = 0;
    if (!read_pid(service, &pid)) {
        return;
    }
    lodge_autofd process = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
    g_autofree char *words = words_of((pid_t)pid, &length);
    if (process >= 0 && length == 0) {
        lodge_pid_fd_await(process, END_TIMEOUT_MS);
    }
}

int
lodge_service_open(const LodgeService *service)
{
    guint64 pid = 0;
    if (!read_pid(service, &pid)) {
        return -1;
    }
    /* The descriptor first: what is verified then is that very process. */
    lodge_autofd process = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
    if (process < 0 || !is_called((pid_t)pid, service->argv)) {
        return -1;
    }
    struct pollfd ended = {.fd = process, .events = POLLIN};
    return poll(&ended, 1, 0) == 0 ? lodge_fd_steal(&process) : -1;
}

gboolean
lodge_net_is_served(const LodgeStore *store, const LodgeNetwork *network)
{
    g_autoptr(GPtrArray) services = lodge_net_services(store, network);
    for (guint i = 0; i < services->len; i++) {
        lodge_autofd process = lodge_service_open(services->pdata[i]);
        if (process < 0) {
            return FALSE;
        }
    }
    return TRUE;
}

void
lodge_net_reread_hosts(const LodgeStore *store, const LodgeNetwork *network)
{
    g_autoptr(GPtrArray) services = lodge_net_services(store, network);
    for (guint i = 0; i < services->len; i++) {
        const LodgeService *service = services->pdata[i];
        lodge_autofd process = g_str_equal(service->name, "dnsmasq") ? lodge_service_open(service)
                                                                     : -1;
        if (process >= 0) {
            syscall(SYS_pidfd_send_signal, process, SIGHUP, NULL, 0);
        }
    }
}

/* The DNS servers of the host; for others than itself only those that are not on its loopback. */
static char **
host_servers(gboolean for_others)
{
    static const char *const files[] = {"/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"};
    g_autofree char *text = NULL;
    for (gsize i = for_others ? 0 : 1; text == NULL && i < G_N_ELEMENTS(files); i++) {
        text = lodge_file_read(files[i], RESOLV_LIMIT_BYTES, NULL, NULL);
    }
    GPtrArray *servers = g_ptr_array_new();
    g_auto(GStrv) lines = g_strsplit(text != NULL ? text : "", "\n", -1);
    for (gsize i = 0; lines[i] != NULL; i++) {
        LodgePrefix address;
        const char *word = g_str_has_prefix(lines[i], "nameserver ")
                               ? g_strstrip(lines[i] + strlen("nameserver "))
                               : "";
        gboolean is_own = g_str_has_prefix(word, "127.") || g_str_equal(word, "::1");
        if (lodge_address_parse(word, &address, NULL) && !(for_others && is_own)) {
            g_ptr_array_add(servers, g_strdup(word));
        }
    }
    g_ptr_array_add(servers, NULL);
    return (char **)g_ptr_array_free(servers, FALSE);
}

static gboolean
write_config(const LodgeStore *store, const LodgeNetwork *network, const char *file,
             const char *text, GError **error)
{
    g_autofree char *path = lodge_store_network_run_path(store, network->name, file);
    return lodge_file_write(path, text, strlen(text), 0644, LODGE_WRITE_NO_SYNC, error);
}

static gboolean
write_nat64(const LodgeStore *store, const LodgeNetwork *network, GError **error)
{
    g_autofree char *pid_file = lodge_store_network_run_path(store, network->name, "unbound.pid");
    g_auto(GStrv) servers = host_servers(FALSE);
    g_autofree char *tayga = lodge_nat64_tayga_config(network);
    g_autofree char *unbound = lodge_nat64_unbound_config(network, pid_file,
                                                          (const char *const *)servers);
    return write_config(store, network, "tayga.conf", tayga, error) &&
           (!wants_dns64(network) || write_config(store, network, "unbound.conf", unbound, error));
}

gboolean
lodge_net_write_services(const LodgeStore *store, const LodgeNetwork *network, GError **error)
{
    if (network->nat64 && !write_nat64(store, network, error)) {
        return FALSE;
    }
    if (!wants_dnsmasq(network)) {
        return TRUE;
    }
    g_autofree char *listen = lodge_nat64_listen(network);
    g_autofree char *dns64 = g_strdup_printf("%s#%d", listen, LODGE_NAT64_PORT);
    g_autofree char *pid_file = lodge_store_network_run_path(store, network->name, "dnsmasq.pid");
    g_autofree char *hosts = lodge_store_network_run_path(store, network->name, "hosts");
    g_autofree char *names = lodge_store_network_run_path(store, network->name, "names");
    g_autofree char *leases_file = g_strconcat(network->name, ".leases", NULL);
    g_autofree char *leases = g_build_filename(store->root, "networks", leases_file, NULL);
    g_autofree char *leases_folder = g_path_get_dirname(leases);
    g_auto(GStrv) servers = host_servers(TRUE);
    LodgeDnsmasqFiles files = {.pid_file = pid_file,
                               .lease_file = leases,
                               .hosts_folder = hosts,
                               .names_folder = names,
                               .host_servers = (const char *const *)servers,
                               .nat64_server = network->nat64 ? dns64 : NULL};
    g_autofree char *config = network->mode == LODGE_NETWORK_ROUTED
                                  ? lodge_dnsmasq_routed_config(network, &files)
                                  : lodge_dnsmasq_config(network, &files);
    return lodge_dir_make(hosts, 0755, error) && lodge_dir_make(names, 0755, error) &&
           lodge_dir_make(leases_folder, 0755, error) &&
           write_config(store, network, "dnsmasq.conf", config, error);
}

/* Ask a process to end, then make it. */
static gboolean
end_process(int process, const char *what, GError **error)
{
    static const int signals[] = {SIGTERM, SIGKILL};
    for (gsize i = 0; i < G_N_ELEMENTS(signals); i++) {
        lodge_pid_fd_signal(process, signals[i], NULL);
        if (lodge_pid_fd_await(process, END_TIMEOUT_MS)) {
            return TRUE;
        }
    }
    return lodge_error_set(error, LODGE_ERROR_FAILED, "%s does not end", what);
}

gboolean
lodge_net_stop_services(const LodgeStore *store, const LodgeNetwork *network, GError **error)
{
    /* The keeper first: it would start the others again. */
    g_autofree char *lock = lodge_store_network_run_path(store, network->name, "keeper.lock");
    lodge_autofd keeper = lodge_lock_open_holder(lock, NULL);
    if (keeper >= 0 && !end_process(keeper, "lodge-network", error)) {
        return FALSE;
    }
    unlink(lock);
    g_autoptr(GPtrArray) services = lodge_net_services(store, network);
    for (guint i = 0; i < services->len; i++) {
        const LodgeService *service = services->pdata[i];
        lodge_autofd process = lodge_service_open(service);
        if (process >= 0 && !end_process(process, service->name, error)) {
            return FALSE;
        }
        await_ending(service);
        unlink(service->process_path);
    }
    return TRUE;
}

gboolean
lodge_net_serve(const LodgeStore *store, const LodgeNetwork *network, GError **error)
{
    g_autofree char *lock = lodge_store_network_run_path(store, network->name, "keeper.lock");
    g_autoptr(GPtrArray) services = lodge_net_services(store, network);
    if (services->len == 0 || lodge_lock_is_held(lock)) {
        return TRUE;
    }
    g_autofree char *program = lodge_program_own("lodge-network", LODGE_LIBEXEC_DIR);
    const char *const argv[] = {program, "--report-fd=3", network->name, NULL};
    return lodge_detached_start(argv, START_TIMEOUT_MS, error) ||
           lodge_error_prefix(error, "network %s", network->name);
}
