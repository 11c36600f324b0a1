#include "config.h"

#include <string.h>

#include "base/base.h"
#include "qemu/builder.h"

static char *
find(const char *layout, const char *id)
{
    g_auto(GStrv) words = g_strsplit(layout, " ", -1);
    gsize length = strlen(id);
    for (gsize i = 0; words[i] != NULL; i++) {
        if (g_str_has_prefix(words[i], id) && words[i][length] == '=') {
            return g_strdup(words[i] + length + 1);
        }
    }
    return NULL;
}

/* All at once, each at its address: what has none of its own then finds the place it had. */
void
lodge_command_add_ports(LodgeCommand *command, const char *layout)
{
    command->layout = g_strdup(layout);
    for (;;) {
        g_autofree char *id = g_strdup_printf("port%u", command->ports + 1);
        g_autofree char *address = find(layout, id);
        if (address == NULL) {
            return;
        }
        command->ports++;
        lodge_command_option(command, "-device", "pcie-root-port,id=%s,chassis=%u,slot=%u,addr=%s",
                             id, command->ports, command->ports, address);
    }
}

char *
lodge_command_take_port(LodgeCommand *command, const LodgeGuest *guest, const char *id)
{
    if (lodge_machine_type(guest) == LODGE_MACHINE_PC) {
        return NULL;
    }
    if (command->layout != NULL) {
        return find(command->layout, id);
    }
    command->ports++;
    lodge_command_option(command, "-device", "pcie-root-port,id=port%u,chassis=%u,slot=%u",
                         command->ports, command->ports, command->ports);
    return g_strdup_printf("port%u", command->ports);
}
