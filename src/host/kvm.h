/* Parts of the KVM verdict, for the checks and the tests. */
#pragma once

#include <sys/stat.h>

#include "host/host.h"
#include "host/micro-guest.h"
#include "host/system.h"

/* Why opening /dev/kvm of the machine at @sysroot gave @saved_errno: fills in an ABSENT verdict.
 * @device is what stat() says of it, all zero if there is none. */
void lodge_kvm_explain_absent(const char *sysroot, LodgeKernel *kernel, int saved_errno,
                              const struct stat *device, LodgeKvmVerdict *out);

/* What a finished or stuck micro guest says. */
void lodge_kvm_judge(const LodgeMicroGuest *guest, LodgeKvmVerdict *out);

/* The verdict in two steps, so that something else can be done while the micro guest runs; both as
 * lodge_kvm_verdict() does. */
typedef struct LodgeKvmProbe LodgeKvmProbe;

void lodge_kvm_probe_free(LodgeKvmProbe *probe);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeKvmProbe, lodge_kvm_probe_free)

LodgeKvmProbe *lodge_kvm_probe_start(const char *cache_folder, gboolean fresh, GError **error);
gboolean lodge_kvm_probe_finish(LodgeKvmProbe *probe, LodgeKvmVerdict *out, GError **error);
