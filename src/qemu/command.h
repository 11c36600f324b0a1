/* A QEMU command line, and the descriptors that must be open when it runs. */
#pragma once

#include <glib.h>

#include "model/model.h"
#include "qemu/qcow2.h"

typedef enum {
    LODGE_PASS_READ,   /* the file, open for reading */
    LODGE_PASS_WRITE,  /* the file, open for reading and writing */
    LODGE_PASS_APPEND, /* the file, made if absent, open for appending */
    LODGE_PASS_COPY, /* for QEMU's own open(), unprivileged: the file, open for reading, or if only
                        some may read it, a private copy in memory */
    LODGE_PASS_LISTEN, /* a listening Unix socket made at the path */
    LODGE_PASS_OPEN,   /* open already: a tap, or another program's socket, called `path` */
} LodgePassKind;

typedef struct {
    int fd; /* the number it has in QEMU */
    LodgePassKind kind;
    char *path;
    int open_fd; /* LODGE_PASS_OPEN: borrowed; else -1 */
} LodgePass;

typedef enum {
    LODGE_BEGIN_RUNNING,
    LODGE_BEGIN_PAUSED,   /* the guest's CPUs don't run */
    LODGE_BEGIN_INCOMING, /* nor have they anything to run: memory comes by `migrate-incoming` */
} LodgeBegin;

/* What a NIC is plugged into. */
typedef struct {
    char *link; /* the tap's name; NULL: QEMU's own user-mode network */
    int fd;
    int vhost_fd;       /* /dev/vhost-net, open; -1: QEMU carries the packets */
    gboolean is_socket; /* no tap: a socket that listens, where passt is to connect */
} LodgeTap;

typedef struct {
    GPtrArray *argv;   /* char *, NULL-terminated */
    GPtrArray *passed; /* LodgePass * */
    guint ports;       /* PCIe ports made so far */
    guint drives;      /* places taken on the SATA or IDE controller */
    char *layout;      /* as a machine's */
} LodgeCommand;

/* A file that is the guest's memory. */
typedef enum {
    LODGE_MEMORY_OWN,       /* none is: QEMU takes it from the host */
    LODGE_MEMORY_WRITTEN,   /* what the guest writes goes into the file */
    LODGE_MEMORY_COPIED,    /* the file is what the guest begins with; what it writes is its own */
    LODGE_MEMORY_READ_ONLY, /* the same, for a file that is open for reading only: QEMU 8.2 can */
} LodgeMemoryUse;

/* What the machine is made of, besides its definition: all found out before, so that the command
 * line follows from it alone. Strings are borrowed. */
typedef struct {
    const char *program;      /* qemu-system-x86_64 */
    const char *guest_folder; /* where relative files are */
    const char *run_folder;   /* where the sockets go */
    gboolean kvm;
    guint ssh_port;            /* on 127.0.0.1, to the guest's 22; 0: none */
    const char *firmware_code; /* UEFI: OVMF's code */
    const char *firmware_vars; /* UEFI: the guest's variables, qcow2 */
    const char *seed_text;     /* provision=lodge: the file for fw_cfg; NULL none */
    const char *seed_disk;     /* provision=nocloud: the ISO; NULL none */
    const LodgeTap *taps;      /* for each NIC; link NULL: user-mode. NULL: all are */
    int tpm_fd;                /* the socket to swtpm, if the guest has a TPM */
    GPtrArray *chains;         /* for each disk of the guest, a GPtrArray of LodgeLayer * */
    LodgeBegin begin;          /* what QEMU does when it has started */
    const char *layout;        /* where another QEMU has ports and devices: "port1=2.0 port2=2.1
                                  disk-root=port2"; NULL: each gets the next */
    LodgeMemoryUse memory_use; /* of the file below */
    const char *memory_file;   /* NULL: LODGE_MEMORY_OWN */
    int memory_fd;             /* it, open */
} LodgeMachine;

/* Build the command. Pure: touches nothing. UNSUPPORTED if the definition asks for what QEMU can't.
 */
LodgeCommand *lodge_qemu_command(const LodgeGuest *guest, const LodgeMachine *machine,
                                 GError **error);

/* The command line of swtpm: it speaks by the socket @socket_fd, keeps its state in the folder that
 * @folder_fd is (both borrowed), and ends when the socket is closed. Pure. */
LodgeCommand *lodge_swtpm_command(const char *program, int folder_fd, int socket_fd);

/* The command line of passt for @nic: it speaks by the connected socket @socket_fd (borrowed), and
 * ends when that is closed. The guest finds what QEMU's own user-mode network has: 10.0.2.15, the
 * gateway 10.0.2.2, DNS at 10.0.2.3, which is @resolver's, an address of IPv4 (NULL: passt finds
 * out itself). @ssh_port: of 127.0.0.1, to the guest's 22; 0: none. Pure. USAGE if the forwards are
 * wrong. */
LodgeCommand *lodge_passt_command(const char *program, const LodgeNic *nic, guint ssh_port,
                                  const char *resolver, int socket_fd, GError **error);

/* What machine=auto comes to. */
LodgeMachineType lodge_machine_type(const LodgeGuest *guest);

void lodge_command_free(LodgeCommand *command);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeCommand, lodge_command_free)
