#include "config.h"

#include "base/progress.h"

#include <stdarg.h>

void
lodge_progress_stage(LodgeProgress *progress, const char *format, ...)
{
    if (progress == NULL) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *words = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    progress->stage(progress, words);
}

void
lodge_progress_part(LodgeProgress *progress, double fraction, const char *words)
{
    if (progress != NULL) {
        progress->part(progress, fraction, words);
    }
}

void
lodge_progress_failed(LodgeProgress *progress)
{
    if (progress != NULL) {
        progress->failed(progress);
    }
}
