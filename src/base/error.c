#include "config.h"

#include "base/error.h"

#include <errno.h>
#include <stdarg.h>

/* clang-format off */
G_DEFINE_QUARK(lodge-error, lodge_error)
/* clang-format on */

typedef struct {
    const char *word;
    int exit_status;
} Meaning;

static const Meaning meanings[] = {
    [LODGE_ERROR_FAILED] = {"failed", 1},
    [LODGE_ERROR_USAGE] = {"usage", 2},
    [LODGE_ERROR_INVALID] = {"invalid", 1},
    [LODGE_ERROR_NOT_FOUND] = {"not-found", 3},
    [LODGE_ERROR_EXISTS] = {"exists", 4},
    [LODGE_ERROR_BUSY] = {"busy", 5},
    [LODGE_ERROR_UNSUPPORTED] = {"unsupported", 6},
    [LODGE_ERROR_TIMEOUT] = {"timeout", 1},
    [LODGE_ERROR_INTERRUPTED] = {"interrupted", 130},
};

static const Meaning *
meaning_of(const GError *error)
{
    if (error->domain == LODGE_ERROR && (gsize)error->code < G_N_ELEMENTS(meanings)) {
        return &meanings[error->code];
    }
    if (error->domain == G_OPTION_ERROR) {
        return &meanings[LODGE_ERROR_USAGE];
    }
    return &meanings[LODGE_ERROR_FAILED];
}

int
lodge_error_exit_status(const GError *error)
{
    return meaning_of(error)->exit_status;
}

const char *
lodge_error_word(const GError *error)
{
    return meaning_of(error)->word;
}

static LodgeError
code_of_errno(int saved_errno)
{
    switch (saved_errno) {
    case ENOENT:
    case ENOTDIR:
        return LODGE_ERROR_NOT_FOUND;
    case EEXIST:
        return LODGE_ERROR_EXISTS;
    case EBUSY:
    case EAGAIN:
        return LODGE_ERROR_BUSY;
    default:
        return LODGE_ERROR_FAILED;
    }
}

gboolean
lodge_error_errno(GError **error, int saved_errno, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *what = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    const char *mend = saved_errno == ENOSPC || saved_errno == EDQUOT
                           ? " (free some space there, or move the data with LODGE_DIR)"
                           : "";
    g_set_error(error, LODGE_ERROR, code_of_errno(saved_errno), "%s: %s%s", what,
                g_strerror(saved_errno), mend);
    return FALSE;
}

gboolean
lodge_error_set(GError **error, LodgeError code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *message = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_set_error_literal(error, LODGE_ERROR, code, message);
    return FALSE;
}

gboolean
lodge_error_prefix(GError **error, const char *format, ...)
{
    if (error == NULL || *error == NULL) {
        return FALSE;
    }
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *prefix = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_prefix_error(error, "%s: ", prefix);
    return FALSE;
}
