#include "config.h"

#include "qemu/builder.h"
#include "qemu/command.h"

/* passt wants no brackets around an address of IPv6. */
static void
add_forward(LodgeCommand *command, gboolean udp, const char *address, guint host_port,
            guint guest_port)
{
    lodge_command_option(command, udp ? "--udp-ports" : "--tcp-ports", "%s/%u:%u", address,
                         host_port, guest_port);
}

LodgeCommand *
lodge_passt_command(const char *program, const LodgeNic *nic, guint ssh_port, const char *resolver,
                    int socket_fd, GError **error)
{
    g_autoptr(GPtrArray)
        forwards = lodge_forwards_parse(nic->forward != NULL ? nic->forward : "", error);
    if (forwards == NULL) {
        return NULL;
    }
    LodgeCommand *command = lodge_command_new();
    lodge_command_add(command, program);
    lodge_command_add(command, "--foreground");
    lodge_command_add(command, "--quiet");
    /* The gateway's address would else be the host's loopback. */
    lodge_command_add(command, "--no-map-gw");
    lodge_command_option(command, "--fd", "%d",
                         lodge_command_pass_open(command, "passt", socket_fd));
    lodge_command_option(command, "--address", "10.0.2.15");
    lodge_command_option(command, "--netmask", "24");
    lodge_command_option(command, "--gateway", "10.0.2.2");
    lodge_command_option(command, "--dns-forward", "10.0.2.3");
    /* Told what to tell the guest, it looks for no resolver. */
    if (resolver != NULL) {
        lodge_command_option(command, "--dns", "10.0.2.3");
        lodge_command_option(command, "--dns-host", "%s", resolver);
    }
    if (ssh_port != 0) {
        add_forward(command, FALSE, "127.0.0.1", ssh_port, 22);
    }
    for (guint i = 0; i < forwards->len; i++) {
        const LodgeForward *forward = forwards->pdata[i];
        add_forward(command, forward->udp, forward->address, forward->host_port,
                    forward->guest_port);
    }
    g_ptr_array_add(command->argv, NULL);
    return command;
}
