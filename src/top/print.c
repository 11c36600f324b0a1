#include "config.h"

#include "top/print.h"

#include <math.h>
#include <stdio.h>

#include "base/base.h"

static json_t *
count_or_null(gint64 count)
{
    return count >= 0 ? json_integer(count) : json_null();
}

static json_t *
rate_or_null(double value)
{
    return value >= 0 ? json_real(round(value * 10) / 10) : json_null();
}

static json_t *
guest_json(const TopGuest *guest)
{
    const LodgeGuestState *state = guest->state;
    return json_pack(
        "{s:s, s:s, s:o, s:i, s:i, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o,"
        " s:s}",
        "name", guest->name, "state", lodge_state_word(state->state), "job",
        lodge_json_string_or_null(state->job), "pid", (int)state->qemu_pid, "cpus",
        (int)guest->cpus, "memory_bytes", (json_int_t)guest->memory_bytes, "started_ms",
        (json_int_t)state->started_ms, "cpu_percent", rate_or_null(guest->cpu_percent),
        "throttled_percent", rate_or_null(guest->throttled_percent), "waited_percent",
        rate_or_null(guest->waited_percent), "rss_bytes", count_or_null(guest->rss_bytes),
        "guest_used_bytes", count_or_null(guest->guest_used_bytes), "balloon_bytes",
        count_or_null(guest->balloon_bytes), "read_bytes_s", rate_or_null(guest->read_rate),
        "write_bytes_s", rate_or_null(guest->write_rate), "receive_bytes_s",
        rate_or_null(guest->receive_rate), "send_bytes_s", rate_or_null(guest->send_rate),
        "disk_source", guest->is_guest_io ? "guest" : "process");
}

json_t *
top_json(const TopSample *sample)
{
    json_t *guests = json_array();
    for (guint i = 0; i < sample->guests->len; i++) {
        json_array_append_new(guests, guest_json(sample->guests->pdata[i]));
    }
    return json_pack("{s:I, s:{s:i, s:I, s:I, s:o, s:b, s:I, s:I}, s:o}", "time_ms",
                     (json_int_t)(g_get_real_time() / 1000), "host", "cpus", (int)sample->host_cpus,
                     "memory_bytes", (json_int_t)sample->memory.total_bytes,
                     "memory_available_bytes", (json_int_t)sample->memory.available_bytes,
                     "memory_pressure_percent", rate_or_null(sample->memory.pressure), "ksm",
                     sample->ksm.running, "ksm_saved_bytes", (json_int_t)sample->ksm.saved_bytes,
                     "ballooned_bytes", (json_int_t)sample->ballooned_bytes, "guests", guests);
}

static void
print_csv_number(double value)
{
    if (value >= 0) {
        printf(value == floor(value) ? ",%.0f" : ",%.1f", value);
    } else {
        putchar(',');
    }
}

void
top_print_csv(const TopSample *sample, gboolean titles)
{
    if (titles) {
        puts("time_ms,name,state,cpu_percent,throttled_percent,waited_percent,rss_bytes,"
             "guest_used_bytes,read_bytes_s,write_bytes_s,receive_bytes_s,send_bytes_s");
    }
    gint64 time_ms = g_get_real_time() / 1000;
    for (guint i = 0; i < sample->guests->len; i++) {
        const TopGuest *guest = sample->guests->pdata[i];
        const double values[] = {guest->cpu_percent,
                                 guest->throttled_percent,
                                 guest->waited_percent,
                                 (double)guest->rss_bytes,
                                 (double)guest->guest_used_bytes,
                                 guest->read_rate,
                                 guest->write_rate,
                                 guest->receive_rate,
                                 guest->send_rate};
        printf("%" G_GINT64_FORMAT ",%s,%s", time_ms, guest->name,
               lodge_state_word(guest->state->state));
        for (gsize k = 0; k < G_N_ELEMENTS(values); k++) {
            print_csv_number(values[k]);
        }
        putchar('\n');
    }
}

char *
top_percent_words(double percent)
{
    return percent < 0 ? g_strdup("–")
                       : g_strdup_printf(percent < 99.95 ? "%.1f" : "%.0f", percent);
}

char *
top_bytes_words(double size_bytes)
{
    static const char units[] = "BKMGTP";
    gsize unit = 0;
    if (size_bytes < 0) {
        return g_strdup("–");
    }
    while (size_bytes >= 1000 && unit < sizeof units - 2) {
        size_bytes /= 1024;
        unit++;
    }
    return g_strdup_printf(unit == 0 || size_bytes >= 100 ? "%.0f%c" : "%.1f%c", size_bytes,
                           units[unit]);
}

char *
top_host_words(const TopSample *sample)
{
    guint running = 0;
    double cpu = 0;
    for (guint i = 0; i < sample->guests->len; i++) {
        const TopGuest *guest = sample->guests->pdata[i];
        running += guest->state->has_qemu ? 1 : 0;
        cpu += MAX(guest->cpu_percent, 0);
    }
    g_autofree char *available = top_bytes_words((double)sample->memory.available_bytes);
    g_autofree char *total = top_bytes_words((double)sample->memory.total_bytes);
    g_autofree char *merged = top_bytes_words((double)sample->ksm.saved_bytes);
    g_autofree char *ballooned = top_bytes_words((double)sample->ballooned_bytes);
    return g_strdup_printf("%u of %u guests run, %.0f%% of %u CPUs; memory %s free of %s; saved: "
                           "%s merged%s, %s ballooned",
                           running, sample->guests->len, cpu / MAX(sample->host_cpus, 1),
                           sample->host_cpus, available, total, merged,
                           sample->ksm.running ? "" : " (off)", ballooned);
}

void
top_print_table(const TopSample *sample)
{
    g_autofree char *host = top_host_words(sample);
    printf("%s\n%-16s %-9s %6s %5s %5s %6s %6s %6s %6s %6s %6s\n", host, "NAME", "STATE", "CPU%",
           "HELD%", "WAIT%", "MEM", "USED", "READ", "WRITE", "RECV", "SEND");
    for (guint i = 0; i < sample->guests->len; i++) {
        const TopGuest *guest = sample->guests->pdata[i];
        g_autofree char *cpu = top_percent_words(guest->cpu_percent);
        g_autofree char *held = top_percent_words(guest->throttled_percent);
        g_autofree char *waited = top_percent_words(guest->waited_percent);
        g_autofree char *memory = top_bytes_words((double)guest->rss_bytes);
        g_autofree char *used = top_bytes_words((double)guest->guest_used_bytes);
        g_autofree char *read = top_bytes_words(guest->read_rate);
        g_autofree char *written = top_bytes_words(guest->write_rate);
        g_autofree char *received = top_bytes_words(guest->receive_rate);
        g_autofree char *sent = top_bytes_words(guest->send_rate);
        const char *cells[] = {cpu, held, waited, memory, used, read, written, received, sent};
        printf("%-16s %-9s", guest->name, lodge_state_word(guest->state->state));
        for (gsize k = 0; k < G_N_ELEMENTS(cells); k++) {
            int width = k == 1 || k == 2 ? 5 : 6;
            int gap = MAX(width - (int)g_utf8_strlen(cells[k], -1), 0);
            printf(" %*s%s", gap, "", cells[k]);
        }
        putchar('\n');
    }
    fflush(stdout);
}
