#include "config.h"

#include "host/ksm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "host/system.h"

#define KSM "/sys/kernel/mm/ksm/"

enum {
    /* The kernel's own 100 pages each 20 ms would take minutes for a guest. */
    PAGES_TO_SCAN = 1000,
    FILE_LIMIT_BYTES = 4096,
    FEWEST_GUESTS = 2,
};
#define PRESSURE_HIGH 5.0

static const char *const words[] = {
    [LODGE_KSM_OFF] = "off", [LODGE_KSM_ON] = "on", [LODGE_KSM_AUTO] = "auto"};

const char *
lodge_ksm_mode_word(LodgeKsmMode mode)
{
    return words[mode];
}

gboolean
lodge_ksm_mode_from_word(const char *word, LodgeKsmMode *out_mode, GError **error)
{
    for (gsize i = 0; i < G_N_ELEMENTS(words); i++) {
        if (g_str_equal(word, words[i])) {
            *out_mode = (LodgeKsmMode)i;
            return TRUE;
        }
    }
    return lodge_error_set(error, LODGE_ERROR_USAGE, "“%s” is not one of on, off, auto, status",
                           word);
}

static guint64
number(const char *sysroot, const char *path)
{
    return (guint64)MAX(lodge_system_number(sysroot, path, 0), 0);
}

void
lodge_ksm_read(const char *sysroot, LodgeKsm *out_ksm)
{
    *out_ksm = (LodgeKsm){
        .available = lodge_system_exists(sysroot, KSM "run"),
        .running = number(sysroot, KSM "run") == 1,
        .pages_shared = number(sysroot, KSM "pages_shared"),
        .pages_sharing = number(sysroot, KSM "pages_sharing"),
        .pages_to_scan = number(sysroot, KSM "pages_to_scan"),
        .sleep_ms = number(sysroot, KSM "sleep_millisecs"),
    };
    out_ksm->saved_bytes = out_ksm->pages_sharing * (guint64)sysconf(_SC_PAGESIZE);
}

static gboolean
write_number(const char *sysroot, const char *path, guint64 value, GError **error)
{
    g_autofree char *full = lodge_system_path(sysroot, path);
    g_autofree char *text = g_strdup_printf("%" G_GUINT64_FORMAT, value);
    lodge_autofd fd = open(full, O_WRONLY | O_TRUNC | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) < 0) {
        return lodge_error_errno(error, errno, "%s", path);
    }
    return TRUE;
}

gboolean
lodge_ksm_write(const char *sysroot, gboolean run, guint64 pages_to_scan, GError **error)
{
    if (!lodge_system_exists(sysroot, KSM "run")) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "this kernel can't merge equal pages (it lacks CONFIG_KSM)");
    }
    return (pages_to_scan == 0 ||
            write_number(sysroot, KSM "pages_to_scan", pages_to_scan, error)) &&
           write_number(sysroot, KSM "run", run ? 1 : 0, error);
}

void
lodge_memory_read(const char *sysroot, LodgeMemory *out_memory)
{
    g_autofree char *text = lodge_system_text(sysroot, "/proc/meminfo");
    g_autofree char *total = lodge_system_field(text, "MemTotal");
    g_autofree char *available = lodge_system_field(text, "MemAvailable");
    g_autofree char *pressure = lodge_system_text(sysroot, "/proc/pressure/memory");
    const char *average = strstr(pressure, "some avg10=");
    *out_memory = (LodgeMemory){
        .total_bytes = total != NULL ? g_ascii_strtoull(total, NULL, 10) * 1024 : 0,
        .available_bytes = available != NULL ? g_ascii_strtoull(available, NULL, 10) * 1024 : 0,
        .pressure = average != NULL ? g_ascii_strtod(average + strlen("some avg10="), NULL) : -1,
    };
}

gboolean
lodge_ksm_decide(const LodgeMemory *memory, guint guests, gboolean running)
{
    if (guests < FEWEST_GUESTS || memory->total_bytes == 0) {
        return FALSE;
    }
    return memory->available_bytes < memory->total_bytes / (running ? 3 : 5) ||
           memory->pressure > PRESSURE_HIGH;
}

static json_t *
read_file(const char *folder)
{
    g_autofree char *path = g_build_filename(folder, "ksm.json", NULL);
    return lodge_json_read(path, FILE_LIMIT_BYTES, NULL);
}

LodgeKsmMode
lodge_ksm_mode(const char *folder)
{
    LodgeKsmMode mode = LODGE_KSM_OFF;
    g_autoptr(json_t) file = read_file(folder);
    lodge_ksm_mode_from_word(lodge_json_string(file, "mode", "off"), &mode, NULL);
    return mode;
}

static gboolean
act(const char *sysroot, const json_t *file, gboolean run, GError **error)
{
    gint64 before = lodge_json_int(file, "pages_to_scan_before", 0);
    return lodge_ksm_write(sysroot, run, run ? PAGES_TO_SCAN : (guint64)MAX(before, 0), error);
}

gboolean
lodge_ksm_set(const char *sysroot, const char *folder, LodgeKsmMode mode, guint guests,
              GError **error)
{
    LodgeKsm ksm;
    LodgeMemory memory;
    lodge_ksm_read(sysroot, &ksm);
    lodge_memory_read(sysroot, &memory);
    g_autofree char *path = g_build_filename(folder, "ksm.json", NULL);
    g_autoptr(json_t) before = read_file(folder);
    g_autoptr(json_t) file = json_pack(
        "{s:s, s:I}", "mode", words[mode], "pages_to_scan_before",
        lodge_json_int(before, "pages_to_scan_before", (json_int_t)ksm.pages_to_scan));
    gboolean run = mode == LODGE_KSM_ON ||
                   (mode == LODGE_KSM_AUTO && lodge_ksm_decide(&memory, guests, ksm.running));
    if (!act(sysroot, file, run, error)) {
        return FALSE;
    }
    if (mode == LODGE_KSM_OFF) {
        unlink(path);
        return TRUE;
    }
    return lodge_dir_make(folder, 0755, error) && lodge_json_publish(path, file, error);
}

void
lodge_ksm_review(const char *sysroot, const char *folder, guint guests)
{
    LodgeKsm ksm;
    LodgeMemory memory;
    if (lodge_ksm_mode(folder) != LODGE_KSM_AUTO) {
        return;
    }
    lodge_ksm_read(sysroot, &ksm);
    lodge_memory_read(sysroot, &memory);
    gboolean run = lodge_ksm_decide(&memory, guests, ksm.running);
    if (run != ksm.running) {
        g_autoptr(json_t) file = read_file(folder);
        act(sysroot, file, run, NULL);
    }
}
