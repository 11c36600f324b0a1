#include "config.h"

#include "host/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>

#include "base/base.h"

#define DEVICE "/dev/kvm"

enum {
    /* It takes 5 ms. Only where KVM hangs is this waited for; a machine so busy that it takes 300
     * must not be taken for one. */
    PROBE_TIMEOUT_MS = 400,
    CACHE_LIMIT_BYTES = 4096,
};

static const char *const state_words[] = {
    [LODGE_KVM_HARDWARE] = "hardware",
    [LODGE_KVM_EMULATED] = "emulated",
    [LODGE_KVM_ABSENT] = "absent",
};

const char *
lodge_kvm_state_word(LodgeKvmState state)
{
    return state_words[state];
}

/* Whatever could change the verdict without a reboot changes this text. */
static char *
cache_key(int device_fd, const char *release)
{
    struct stat info;
    if (fstat(device_fd, &info) < 0) {
        return NULL;
    }
    g_autofree char *boot = lodge_system_read("", "/proc/sys/kernel/random/boot_id");
    return boot == NULL ? NULL
                        : g_strdup_printf("%s %s %u:%u %" G_GINT64_FORMAT ".%09ld", boot, release,
                                          major(info.st_rdev), minor(info.st_rdev),
                                          (gint64)info.st_ctim.tv_sec, info.st_ctim.tv_nsec);
}

static gboolean
state_of_word(const char *word, LodgeKvmState *out)
{
    for (gsize i = 0; word != NULL && i < G_N_ELEMENTS(state_words); i++) {
        if (strcmp(word, state_words[i]) == 0) {
            *out = (LodgeKvmState)i;
            return TRUE;
        }
    }
    return FALSE;
}

/* FALSE if there is none, or none to be believed. */
static gboolean
cache_load(const char *path, const char *key, LodgeKvmVerdict *out)
{
    g_autoptr(json_t) saved = lodge_json_read(path, CACHE_LIMIT_BYTES, NULL);
    if (g_strcmp0(lodge_json_string(saved, "key", NULL), key) != 0) {
        return FALSE;
    }
    LodgeKvmVerdict found = {.cached = TRUE};
    found.real_mips = json_number_value(json_object_get(saved, "real-mips"));
    found.long_mips = json_number_value(json_object_get(saved, "long-mips"));
    gboolean known = state_of_word(lodge_json_string(saved, "state", NULL), &found.state);
    gboolean fast = found.long_mips >= LODGE_KVM_LEAST_MIPS;
    if (!known || fast != (found.state == LODGE_KVM_HARDWARE)) {
        return FALSE;
    }
    g_strlcpy(found.reason, lodge_json_string(saved, "reason", ""), sizeof found.reason);
    g_strlcpy(found.mend, lodge_json_string(saved, "mend", ""), sizeof found.mend);
    *out = found;
    return TRUE;
}

static void
cache_save(const char *path, const char *key, const LodgeKvmVerdict *verdict)
{
    g_autoptr(json_t)
        saved = json_pack("{s:s, s:s, s:f, s:f, s:s, s:s}", "key", key, "state",
                          state_words[verdict->state], "real-mips", verdict->real_mips, "long-mips",
                          verdict->long_mips, "reason", verdict->reason, "mend", verdict->mend);
    /* Without it the next call measures again: slower, not wrong. */
    lodge_json_publish(path, saved, NULL);
}

static void
judge_failure(const LodgeMicroGuest *guest, LodgeKvmVerdict *out)
{
    static const char *const steps[] = {
        [LODGE_MICRO_STARTED] = "opening it",
        [LODGE_MICRO_OPENED] = "creating a virtual machine",
        [LODGE_MICRO_CREATED] = "running a guest in real mode",
        [LODGE_MICRO_REAL_DONE] = "running a guest in long mode",
        [LODGE_MICRO_LONG_DONE] = "ending",
    };
    const char *step = steps[MIN(guest->stage, LODGE_MICRO_LONG_DONE)];
    out->state = LODGE_KVM_ABSENT;
    if (guest->saved_errno == EBUSY) {
        g_snprintf(out->reason, sizeof out->reason,
                   "another hypervisor (VirtualBox, VMware …) holds the processor's "
                   "virtualization: %s failed",
                   step);
        g_strlcpy(out->mend, "stop the other hypervisor's guests and unload its kernel modules",
                  sizeof out->mend);
    } else if (guest->timed_out) {
        g_snprintf(out->reason, sizeof out->reason, "%s opens, but %s did not end within %d ms",
                   DEVICE, step, PROBE_TIMEOUT_MS);
    } else if (guest->exit_reason != 0) {
        g_snprintf(out->reason, sizeof out->reason, "%s opens, but %s failed (KVM exit %d)", DEVICE,
                   step, guest->exit_reason);
    } else if (guest->saved_errno != 0) {
        g_snprintf(out->reason, sizeof out->reason, "%s opens, but %s failed: %s", DEVICE, step,
                   g_strerror(guest->saved_errno));
    } else {
        g_snprintf(out->reason, sizeof out->reason, "%s opens with API version %d, but %s failed",
                   DEVICE, guest->api_version, step);
    }
}

void
lodge_kvm_judge(const LodgeMicroGuest *guest, LodgeKvmVerdict *out)
{
    *out = (LodgeKvmVerdict){.real_mips = guest->real_mips, .long_mips = guest->long_mips};
    if (guest->stage < LODGE_MICRO_LONG_DONE) {
        judge_failure(guest, out);
        return;
    }
    if (guest->long_mips >= LODGE_KVM_LEAST_MIPS) {
        out->state = LODGE_KVM_HARDWARE;
        return;
    }
    out->state = LODGE_KVM_EMULATED;
    g_snprintf(out->reason, sizeof out->reason,
               "%s opens, but the kernel interprets each instruction (%.1f million a second; a "
               "processor does thousands): a guest would seem to hang",
               DEVICE, guest->long_mips);
    g_strlcpy(out->mend,
              "use a machine with hardware virtualization; if this is a virtual machine, have its "
              "host turn on nested virtualization",
              sizeof out->mend);
}

struct LodgeKvmProbe {
    LodgeMicroRun *run; /* NULL: the verdict stands already */
    gint64 start_us;
    char *path; /* where it is kept, under this key; NULL: nowhere */
    char *key;
    LodgeKvmVerdict verdict;
};

void
lodge_kvm_probe_free(LodgeKvmProbe *probe)
{
    if (probe != NULL) {
        lodge_micro_run_free(probe->run);
        g_free(probe->path);
        g_free(probe->key);
        g_free(probe);
    }
}

LodgeKvmProbe *
lodge_kvm_probe_start(const char *cache_folder, gboolean fresh, GError **error)
{
    g_autoptr(LodgeKvmProbe) probe = g_new0(LodgeKvmProbe, 1);
    probe->start_us = g_get_monotonic_time();
    struct utsname names;
    uname(&names);
    lodge_autofd device_fd = open(DEVICE, O_RDWR | O_CLOEXEC);
    if (device_fd < 0) {
        int saved_errno = errno;
        g_autoptr(LodgeKernel) kernel = lodge_kernel_new("", names.release);
        struct stat device = {0};
        if (stat(DEVICE, &device) < 0) {
            device = (struct stat){0};
        }
        lodge_kvm_explain_absent("", kernel, saved_errno, &device, &probe->verdict);
        probe->verdict.took_us = g_get_monotonic_time() - probe->start_us;
        return g_steal_pointer(&probe);
    }
    if (cache_folder != NULL) {
        probe->key = cache_key(device_fd, names.release);
        probe->path = g_build_filename(cache_folder, "kvm.json", NULL);
    }
    if (fresh || probe->key == NULL || !cache_load(probe->path, probe->key, &probe->verdict)) {
        probe->run = lodge_micro_run_start(DEVICE, PROBE_TIMEOUT_MS, error);
        return probe->run != NULL ? g_steal_pointer(&probe) : NULL;
    }
    probe->verdict.took_us = g_get_monotonic_time() - probe->start_us;
    return g_steal_pointer(&probe);
}

gboolean
lodge_kvm_probe_finish(LodgeKvmProbe *probe, LodgeKvmVerdict *out, GError **error)
{
    if (probe->run != NULL) {
        LodgeMicroGuest guest;
        if (!lodge_micro_run_finish(probe->run, &guest, error)) {
            return lodge_error_prefix(error, "KVM probe");
        }
        lodge_kvm_judge(&guest, &probe->verdict);
        probe->verdict.took_us = g_get_monotonic_time() - probe->start_us;
        /* It may yet answer when asked again. */
        if (probe->key != NULL && !guest.timed_out) {
            cache_save(probe->path, probe->key, &probe->verdict);
        }
    }
    *out = probe->verdict;
    return TRUE;
}

gboolean
lodge_kvm_verdict(const char *cache_folder, gboolean fresh, LodgeKvmVerdict *out, GError **error)
{
    g_autoptr(LodgeKvmProbe) probe = lodge_kvm_probe_start(cache_folder, fresh, error);
    return probe != NULL && lodge_kvm_probe_finish(probe, out, error);
}
