/* Between the checks and the table that runs them. */
#pragma once

#include <sys/types.h>

#include "host/host.h"
#include "host/system.h"

/* What is asked of the kernel rather than read from files, so that tests can make it up. */
typedef struct {
    const char *release; /* the kernel's: "6.1.0-18-amd64" */
    uid_t uid;
    const char *user;
    guint64 disk_free_bytes;
    int nftables_errno; /* what a question to nftables gave: 0 is fine; -1 if it may not be asked */
    const char *const *chains; /* of lodge_nftables_chains(); NULL: none */
    LodgeKvmVerdict kvm;
} LodgeHostFacts;

/* All that checks look at. */
typedef struct {
    const char *sysroot;
    const char *store_root;
    const LodgeHostFacts *facts;
    LodgeDistro distro;
    LodgeKernel *kernel;
    char *cpuinfo;
    char *container;    /* which kind we are in; NULL */
    char *qemu_path;    /* with the sysroot; NULL if there is none */
    char *qemu_version; /* "7.2.22"; NULL if it could not be found out */
} LodgeExamined;

typedef void (*LodgeCheckFunc)(const LodgeExamined *examined, LodgeCheck *check);

void lodge_check_kvm(const LodgeExamined *examined, LodgeCheck *check);
void lodge_check_cpu(const LodgeExamined *examined, LodgeCheck *check);
void lodge_check_nested(const LodgeExamined *examined, LodgeCheck *check);
void lodge_check_iommu(const LodgeExamined *examined, LodgeCheck *check);
void lodge_check_kernel(const LodgeExamined *examined, LodgeCheck *check);
void lodge_check_memory(const LodgeExamined *examined, LodgeCheck *check);
void lodge_check_disk(const LodgeExamined *examined, LodgeCheck *check);
void lodge_check_ksm(const LodgeExamined *examined, LodgeCheck *check);
void lodge_check_hugepages(const LodgeExamined *examined, LodgeCheck *check);
void lodge_check_cgroup(const LodgeExamined *examined, LodgeCheck *check);
void lodge_check_userns(const LodgeExamined *examined, LodgeCheck *check);
void lodge_check_vhost_net(const LodgeExamined *examined, LodgeCheck *check);
void lodge_check_vhost_vsock(const LodgeExamined *examined, LodgeCheck *check);
void lodge_check_tun(const LodgeExamined *examined, LodgeCheck *check);
void lodge_check_bridge(const LodgeExamined *examined, LodgeCheck *check);
void lodge_check_vlan(const LodgeExamined *examined, LodgeCheck *check);
void lodge_check_nftables(const LodgeExamined *examined, LodgeCheck *check);
void lodge_check_firewall(const LodgeExamined *examined, LodgeCheck *check);
void lodge_check_qemu(const LodgeExamined *examined, LodgeCheck *check);
void lodge_check_qemu_img(const LodgeExamined *examined, LodgeCheck *check);
void lodge_check_dnsmasq(const LodgeExamined *examined, LodgeCheck *check);
void lodge_check_ovmf(const LodgeExamined *examined, LodgeCheck *check);
void lodge_check_nat64(const LodgeExamined *examined, LodgeCheck *check);
void lodge_check_passt(const LodgeExamined *examined, LodgeCheck *check);
void lodge_check_swtpm(const LodgeExamined *examined, LodgeCheck *check);
void lodge_check_ssh(const LodgeExamined *examined, LodgeCheck *check);

/* What was found, all being well. */
void lodge_check_found(LodgeCheck *check, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* There is a gap: what it costs, and its mend (which is taken; NULL if there is none). */
void lodge_check_gap(LodgeCheck *check, LodgeCheckState state, const char *cost, char *mend);

/* The mend that is to load @module. Free with g_free. */
char *lodge_check_modprobe(const LodgeExamined *examined, const char *module);

/* Examine a machine of which @facts are known. */
LodgeCheckReport *lodge_check_examine(const LodgeCheckOptions *options,
                                      const LodgeHostFacts *facts);

/* Ask the kernel for nftables' generation, as `nft` does first. 0, or the error: EOPNOTSUPP where
 * there are none, EPERM for who isn't root. */
int lodge_nftables_ask(void);

/* Which file it is: path, time and size in a line. Free with g_free; NULL if there is none. */
char *lodge_qemu_identity(const char *path);

/* Does the QEMU @program do asynchronous input and output by io_uring on this host? Remembered in
 * @cache_folder; else it is tried, which takes a tenth of a second, or, without @may_try, FALSE. */
gboolean lodge_qemu_does_io_uring(const char *program, const char *cache_folder, gboolean may_try);

/* The version of the QEMU at @path, "7.2.22", from qemu.json in @cache_folder (may be NULL) if the
 * file is the same as then; else the program is run. Free with g_free; NULL if it says none. */
char *lodge_qemu_version(const char *path, const char *cache_folder);

/* The oldest QEMU that knows all that Lodge tells it. */
#define LODGE_QEMU_LEAST "7.0"
/* By major and minor number: "7.2.22" is at least "7.2". */
gboolean lodge_qemu_is_at_least(const char *version, const char *least);
