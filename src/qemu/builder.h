/* The pieces that build a command line; private to this layer. */
#pragma once

#include <glib.h>
#include <jansson.h>

#include "qemu/command.h"

/* One without arguments and descriptors yet. Free with lodge_command_free. */
LodgeCommand *lodge_command_new(void);

/* Append one argument, or an option and its formatted value. */
void lodge_command_add(LodgeCommand *command, const char *argument);
void lodge_command_option(LodgeCommand *command, const char *option, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

/* Pass a file or socket: returns the descriptor's number in QEMU. */
int lodge_command_pass(LodgeCommand *command, LodgePassKind kind, const char *path);

/* Pass what is open already; @name says what it is. The descriptor stays the caller's. */
int lodge_command_pass_open(LodgeCommand *command, const char *name, int open_fd);

/* The same, by way of a descriptor set: returns "/dev/fdset/N", for QEMU's own open(). Free it. */
char *lodge_command_pass_set(LodgeCommand *command, LodgePassKind kind, const char *path);

/* Append `-blockdev` with a JSON object (stolen). */
void lodge_command_blockdev(LodgeCommand *command, json_t *node);

/* machine.c: mainboard, CPUs, memory, firmware, clock, watchdog. */
gboolean lodge_command_add_machine(LodgeCommand *command, const LodgeGuest *guest,
                                   const LodgeMachine *machine, GError **error);

/* devices.c: what is plugged into it. */
void lodge_command_add_disks(LodgeCommand *command, const LodgeGuest *guest,
                             const LodgeMachine *machine);
void lodge_command_add_cdroms(LodgeCommand *command, const LodgeGuest *guest);
gboolean lodge_command_add_nics(LodgeCommand *command, const LodgeGuest *guest,
                                const LodgeMachine *machine, GError **error);
void lodge_command_add_pcis(LodgeCommand *command, const LodgeGuest *guest);
void lodge_command_add_display(LodgeCommand *command, const LodgeGuest *guest);

/* layout.c: all ports where @layout has them; devices then go where it has those. */
void lodge_command_add_ports(LodgeCommand *command, const char *layout);

/* The bus of the device @id, which may be unplugged: a PCIe port of its own on q35, "port3"; NULL
 * where the machine's own bus takes hotplug. Free with g_free. */
char *lodge_command_take_port(LodgeCommand *command, const LodgeGuest *guest, const char *id);
