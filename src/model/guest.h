/* A guest's definition, guest.conf. */
#pragma once

#include <glib.h>

#include "model/schema.h"

/* In the order of the words in the key table of guest.c. */
typedef enum { LODGE_ACCEL_AUTO, LODGE_ACCEL_KVM, LODGE_ACCEL_TCG } LodgeAccel;
typedef enum { LODGE_FIRMWARE_AUTO, LODGE_FIRMWARE_BIOS, LODGE_FIRMWARE_UEFI } LodgeFirmwareKind;
typedef enum { LODGE_MAYBE_AUTO, LODGE_MAYBE_YES, LODGE_MAYBE_NO } LodgeMaybe;
typedef enum { LODGE_CRASH_RESTART, LODGE_CRASH_STOP, LODGE_CRASH_PAUSE } LodgeOnCrash;
typedef enum { LODGE_FORMAT_QCOW2, LODGE_FORMAT_RAW } LodgeDiskFormat;
typedef enum {
    LODGE_PROVISION_NONE,
    LODGE_PROVISION_LODGE,
    LODGE_PROVISION_NOCLOUD
} LodgeProvision;

typedef enum { LODGE_PROFILE_STANDARD, LODGE_PROFILE_LEGACY, LODGE_PROFILE_WINDOWS } LodgeProfile;
typedef enum {
    LODGE_MACHINE_AUTO,
    LODGE_MACHINE_Q35,
    LODGE_MACHINE_PC,
    LODGE_MACHINE_MICROVM
} LodgeMachineType;
typedef enum { LODGE_CLOCK_AUTO, LODGE_CLOCK_UTC, LODGE_CLOCK_LOCAL } LodgeClock;
typedef enum {
    LODGE_VIDEO_AUTO,
    LODGE_VIDEO_NONE,
    LODGE_VIDEO_STD,
    LODGE_VIDEO_VIRTIO,
    LODGE_VIDEO_CIRRUS,
    LODGE_VIDEO_VMWARE
} LodgeVideo;
typedef enum { LODGE_WATCHDOG_NONE, LODGE_WATCHDOG_I6300ESB, LODGE_WATCHDOG_IB700 } LodgeWatchdog;
typedef enum {
    LODGE_BUS_AUTO,
    LODGE_BUS_VIRTIO,
    LODGE_BUS_SCSI,
    LODGE_BUS_SATA,
    LODGE_BUS_IDE,
    LODGE_BUS_USB
} LodgeBus;
typedef enum {
    LODGE_CACHE_WRITEBACK,
    LODGE_CACHE_NONE,
    LODGE_CACHE_WRITETHROUGH,
    LODGE_CACHE_UNSAFE
} LodgeCache;
typedef enum { LODGE_AIO_AUTO, LODGE_AIO_THREADS, LODGE_AIO_NATIVE, LODGE_AIO_IO_URING } LodgeAio;
typedef enum { LODGE_NUMA_BIND, LODGE_NUMA_PREFERRED, LODGE_NUMA_INTERLEAVE } LodgeNumaPolicy;
typedef enum { LODGE_BALLOON_OFF, LODGE_BALLOON_AUTO } LodgeBalloon;
typedef enum {
    LODGE_NIC_AUTO,
    LODGE_NIC_VIRTIO,
    LODGE_NIC_E1000,
    LODGE_NIC_E1000E,
    LODGE_NIC_RTL8139,
    LODGE_NIC_VMXNET3
} LodgeNicModel;

typedef struct {
    char *name;
    char *file;   /* below the guest's folder if relative */
    char *covers; /* a file elsewhere that a layer of Lodge's, `file`, stands on; NULL: none */
    guint64 size_bytes;
    int format; /* LodgeDiskFormat */
    int bus;    /* LodgeBus */
    int cache;  /* LodgeCache */
    int aio;    /* LodgeAio */
    gboolean discard;
    gboolean iothread;
    gboolean read_only;
    guint iops, iops_read, iops_write;      /* a second; 0: no limit */
    guint64 bytes, bytes_read, bytes_write; /* a second; 0: no limit */
} LodgeDisk;

typedef struct {
    char *name;
    char *file; /* NULL: an empty drive */
    int bus;    /* LodgeBus */
} LodgeCdrom;

typedef struct {
    char *name;
    char *device; /* lodge_usb_spec_parse() */
} LodgeUsb;

typedef struct {
    char *name;
    char *device; /* lodge_pci_address_parse() */
} LodgePci;

typedef struct {
    char *name;
    char *network;
    char *mac;
    int model;      /* LodgeNicModel */
    char *address;  /* IPv4; NULL: none is known */
    char *address6; /* IPv6; NULL: none is known */
    gboolean filter;
    char *route;                           /* LODGE_TYPE_PREFIXES; NULL: none */
    guint vlan;                            /* 0: the network's */
    char *trunk;                           /* LODGE_TYPE_VLANS; NULL: none */
    guint64 rate_in_bytes, rate_out_bytes; /* a second; 0: no limit */
    char *forward;
    guint ssh_port; /* 0: chosen at each start */
} LodgeNic;

/* [limits]: what the host gives the guest's QEMU at most. */
typedef struct {
    guint cpu_percent;        /* of one of the host's CPUs; 0: no limit */
    guint cpu_weight;         /* its share beside others when there is not enough; 1 to 10000 */
    guint64 memory_max_bytes; /* QEMU's own memory included; 0: no limit */
    guint io_weight;          /* as cpu_weight, for disks */
    guint pids_max;           /* QEMU's threads; 0: no limit */
} LodgeLimits;

typedef struct {
    char *name;
    char *description;
    char *os;
    char *image;
    char *user;
    int profile; /* LodgeProfile */
    int machine; /* LodgeMachineType */
    guint cpus;
    guint cpus_max;                /* 0: as many as cpus */
    guint sockets, cores, threads; /* 0: QEMU's choice */
    guint64 memory_bytes;
    guint64 memory_max_bytes; /* 0: memory_bytes */
    guint64 memory_min_bytes; /* 0: a quarter of memory_bytes */
    int balloon;              /* LodgeBalloon */
    gboolean huge_pages;
    char *pin;       /* host CPUs, lodge_number_list_parse(); NULL: any */
    char *numa;      /* host memory nodes, likewise */
    int numa_policy; /* LodgeNumaPolicy */
    int firmware;    /* LodgeFirmwareKind; lodge_guest_is_uefi() */
    int secure_boot; /* LodgeMaybe; lodge_guest_secure_boot() */
    int tpm;         /* LodgeMaybe; lodge_guest_has_tpm() */
    int accel;       /* LodgeAccel */
    char *cpu;
    gboolean nested;
    int clock; /* LodgeClock */
    int video; /* LodgeVideo */
    char *keymap;
    int watchdog; /* LodgeWatchdog */
    char *watchdog_action;
    char *boot;
    int on_crash;  /* LodgeOnCrash */
    int provision; /* LodgeProvision */
    gboolean agent;
    gboolean autostart;
    guint start_order;
    guint start_delay_s;
    char *kernel;
    char *initrd;
    char *kernel_arguments;
    char *variables;   /* UEFI's, a file in the guest's folder */
    char *tpm_state;   /* its TPM's, a folder in the guest's folder */
    char *forked_from; /* files of other guests that its disks stand on, "web1/root.qcow2 …" */
    char *snapshot;    /* that its disks stand on; NULL: none */
    char *snapshots;   /* when to make some, lodge_schedule_parse(); NULL: never */
    LodgeLimits limits;
    char *backup_target; /* the folder of `lodge backup`; NULL: it is told each time */
    char *backup_keep;   /* lodge_keep_parse(); NULL: all */
    GPtrArray *disks;    /* LodgeDisk * */
    GPtrArray *cdroms;   /* LodgeCdrom * */
    GPtrArray *nics;     /* LodgeNic * */
    GPtrArray *usbs;     /* LodgeUsb * */
    GPtrArray *pcis;     /* LodgePci * */
} LodgeGuest;

/* The sections of guest.conf, ended by one without a name. */
const LodgeSection *lodge_guest_sections(void);

/* Parse a definition. @name is the guest's. INVALID error with line and reason. */
LodgeGuest *lodge_guest_parse(const char *name, const char *text, gsize length, GError **error);

void lodge_guest_free(LodgeGuest *guest);

/* What `auto` comes to for firmware=, secure-boot= and tpm=, by the profile. */
gboolean lodge_guest_is_uefi(const LodgeGuest *guest);
gboolean lodge_guest_secure_boot(const LodgeGuest *guest);
gboolean lodge_guest_has_tpm(const LodgeGuest *guest);
/* The file in the folder @state that swtpm keeps a TPM's state in, and replaces at one stroke when
 * that changes. Free with g_free. */
char *lodge_guest_tpm_file(const char *state);

/* What QEMU needs besides the guest's memory, at least: no memory limit may be less. */
#define LODGE_QEMU_OVERHEAD_BYTES (G_GUINT64_CONSTANT(64) << 20)
/* The least that a ballooned guest keeps: memory-min=, or a quarter of its memory. In bytes. */
guint64 lodge_guest_memory_floor(const LodgeGuest *guest);

/* A random locally administered MAC in QEMU's customary range 52:54:00. Free with g_free. */
char *lodge_mac_random(void);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeGuest, lodge_guest_free)
