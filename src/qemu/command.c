/* Theory of operation: QEMU gets its world as descriptors.
 *
 * QEMU runs as a user that owns nothing. Each file it needs is opened by the keeper and handed over
 * under a number that stands in the command line; disks go through descriptor sets (`-add-fd`), so
 * that QEMU's block layer can use its ordinary open(); sockets are listening already, so a client
 * can connect before QEMU has started. */
#include "config.h"

#include "qemu/command.h"

#include <stdarg.h>

#include "agent/protocol.h"
#include "base/base.h"
#include "qemu/builder.h"

enum {
    FIRST_PASSED_FD = 10,
    SPARE_PORTS = 6, /* for what is plugged in later */
};

static void
pass_free(gpointer data)
{
    LodgePass *pass = data;
    g_free(pass->path);
    g_free(pass);
}

LodgeCommand *
lodge_command_new(void)
{
    LodgeCommand *command = g_new0(LodgeCommand, 1);
    command->argv = g_ptr_array_new_with_free_func(g_free);
    command->passed = g_ptr_array_new_with_free_func(pass_free);
    return command;
}

void
lodge_command_free(LodgeCommand *command)
{
    if (command != NULL) {
        g_ptr_array_unref(command->argv);
        g_ptr_array_unref(command->passed);
        g_free(command->layout);
        g_free(command);
    }
}

void
lodge_command_add(LodgeCommand *command, const char *argument)
{
    g_ptr_array_add(command->argv, g_strdup(argument));
}

void
lodge_command_option(LodgeCommand *command, const char *option, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    lodge_command_add(command, option);
    g_ptr_array_add(command->argv, g_strdup_vprintf(format, arguments));
    va_end(arguments);
}

int
lodge_command_pass(LodgeCommand *command, LodgePassKind kind, const char *path)
{
    LodgePass *pass = g_new0(LodgePass, 1);
    pass->fd = FIRST_PASSED_FD + (int)command->passed->len;
    pass->kind = kind;
    pass->path = g_strdup(path);
    pass->open_fd = -1;
    g_ptr_array_add(command->passed, pass);
    return pass->fd;
}

int
lodge_command_pass_open(LodgeCommand *command, const char *name, int open_fd)
{
    int fd = lodge_command_pass(command, LODGE_PASS_OPEN, name);
    LodgePass *pass = command->passed->pdata[command->passed->len - 1];
    pass->open_fd = open_fd;
    return fd;
}

char *
lodge_command_pass_set(LodgeCommand *command, LodgePassKind kind, const char *path)
{
    int fd = lodge_command_pass(command, kind, path);
    lodge_command_option(command, "-add-fd", "fd=%d,set=%d", fd, fd);
    return g_strdup_printf("/dev/fdset/%d", fd);
}

void
lodge_command_blockdev(LodgeCommand *command, json_t *node)
{
    char *text = json_dumps(node, JSON_COMPACT);
    lodge_command_option(command, "-blockdev", "%s", text);
    free(text);
    json_decref(node);
}

static void
add_socket(LodgeCommand *command, const LodgeMachine *machine, const char *id, const char *name,
           const char *more)
{
    g_autofree char *path = g_build_filename(machine->run_folder, name, NULL);
    int fd = lodge_command_pass(command, LODGE_PASS_LISTEN, path);
    lodge_command_option(command, "-chardev", "socket,id=%s,fd=%d,server=on,wait=off%s", id, fd,
                         more);
}

static void
add_boot(LodgeCommand *command, const LodgeGuest *guest, const LodgeMachine *machine)
{
    if (guest->kernel != NULL) {
        int kernel_fd = lodge_command_pass(command, LODGE_PASS_COPY, guest->kernel);
        lodge_command_option(command, "-kernel", "/proc/self/fd/%d", kernel_fd);
    }
    if (guest->initrd != NULL) {
        int initrd_fd = lodge_command_pass(command, LODGE_PASS_COPY, guest->initrd);
        lodge_command_option(command, "-initrd", "/proc/self/fd/%d", initrd_fd);
    }
    if (guest->kernel != NULL && guest->kernel_arguments != NULL) {
        lodge_command_option(command, "-append", "%s", guest->kernel_arguments);
    }
    if (machine->seed_text != NULL) {
        int seed_fd = lodge_command_pass(command, LODGE_PASS_COPY, machine->seed_text);
        lodge_command_option(command, "-fw_cfg", "name=opt/lodge/seed,file=/proc/self/fd/%d",
                             seed_fd);
    }
}

static void
add_console_and_agents(LodgeCommand *command, const LodgeMachine *machine)
{
    g_autofree char *log_path = g_build_filename(machine->guest_folder, "console.log", NULL);
    g_autofree char *log = lodge_command_pass_set(command, LODGE_PASS_APPEND, log_path);
    g_autofree char *logging = g_strdup_printf(",logfile=%s,logappend=on", log);
    add_socket(command, machine, "console", "console.sock", logging);
    lodge_command_option(command, "-serial", "chardev:console");
    add_socket(command, machine, "agent", "agent.sock", "");
    lodge_command_option(command, "-device", "virtio-serial-pci,id=serial");
    lodge_command_option(command, "-device",
                         "virtserialport,id=agent,chardev=agent,name=org.qemu.guest_agent.0");
    for (guint i = 0; i < PORT_COUNT; i++) {
        g_autofree char *id = g_strdup_printf("agent-%u", i);
        g_autofree char *name = g_strdup_printf(PORT_SOCKET, i);
        add_socket(command, machine, id, name, "");
        lodge_command_option(command, "-device", "virtserialport,id=%s,chardev=%s,name=%s%u", id,
                             id, PORT_NAME, i);
    }
}

static void
add_monitors(LodgeCommand *command, const LodgeMachine *machine)
{
    add_socket(command, machine, "events", "events.qmp", "");
    lodge_command_option(command, "-mon", "chardev=events,mode=control");
    add_socket(command, machine, "jobs", "jobs.qmp", "");
    lodge_command_option(command, "-mon", "chardev=jobs,mode=control");
    add_socket(command, machine, "view", "view.qmp", "");
    lodge_command_option(command, "-mon", "chardev=view,mode=control");
}

/* What QEMU itself does when the guest panics; a restart is the keeper's work. */
static const char *
panic_action(const LodgeGuest *guest)
{
    switch ((LodgeOnCrash)guest->on_crash) {
    case LODGE_CRASH_STOP:
        return "shutdown";
    case LODGE_CRASH_RESTART:
    case LODGE_CRASH_PAUSE:
        return "pause";
    }
    return "pause";
}

LodgeCommand *
lodge_swtpm_command(const char *program, int folder_fd, int socket_fd)
{
    LodgeCommand *command = lodge_command_new();
    lodge_command_add(command, program);
    int folder = lodge_command_pass_open(command, "tpm state", folder_fd);
    int socket = lodge_command_pass_open(command, "tpm", socket_fd);
    lodge_command_add(command, "socket");
    lodge_command_add(command, "--tpm2");
    lodge_command_add(command, "--terminate");
    lodge_command_option(command, "--tpmstate", "dir=/proc/self/fd/%d,mode=0600", folder);
    lodge_command_option(command, "--ctrl", "type=unixio,clientfd=%d", socket);
    g_ptr_array_add(command->argv, NULL);
    return command;
}

LodgeCommand *
lodge_qemu_command(const LodgeGuest *guest, const LodgeMachine *machine, GError **error)
{
    g_autoptr(LodgeCommand) command = lodge_command_new();
    lodge_command_add(command, machine->program);
    lodge_command_option(command, "-name", "guest=%s,debug-threads=on", guest->name);
    lodge_command_add(command, "-nodefaults");
    lodge_command_add(command, "-no-user-config");
    lodge_command_option(command, "-sandbox",
                         "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    lodge_command_option(command, "-action", "panic=%s", panic_action(guest));
    if (!lodge_command_add_machine(command, guest, machine, error)) {
        return NULL;
    }
    add_boot(command, guest, machine);
    if (machine->layout != NULL) {
        lodge_command_add_ports(command, machine->layout);
    }
    lodge_command_add_display(command, guest);
    lodge_command_add_disks(command, guest, machine);
    lodge_command_add_cdroms(command, guest);
    if (!lodge_command_add_nics(command, guest, machine, error)) {
        return NULL;
    }
    lodge_command_add_pcis(command, guest);
    lodge_command_option(command, "-object", "rng-builtin,id=entropy");
    lodge_command_option(command, "-device", "virtio-rng-pci,id=rng,rng=entropy");
    lodge_command_option(command, "-device", "virtio-balloon-pci,id=balloon,deflate-on-oom=on");
    if (lodge_machine_type(guest) != LODGE_MACHINE_MICROVM) {
        lodge_command_option(command, "-device", "pvpanic");
    }
    add_console_and_agents(command, machine);
    for (guint i = 0; machine->layout == NULL && i < SPARE_PORTS; i++) {
        g_free(lodge_command_take_port(command, guest, ""));
    }
    add_monitors(command, machine);
    if (machine->begin != LODGE_BEGIN_RUNNING) {
        lodge_command_add(command, "-S");
    }
    if (machine->begin == LODGE_BEGIN_INCOMING) {
        lodge_command_option(command, "-incoming", "defer");
    }
    g_ptr_array_add(command->argv, NULL);
    return g_steal_pointer(&command);
}
