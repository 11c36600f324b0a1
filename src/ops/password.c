#include "config.h"

#include "ops/password.h"

#include <crypt.h>
#include <errno.h>
#include <string.h>

#include "base/base.h"

enum {
    PASSWORD_LIMIT_BYTES = 4096,
};

char *
lodge_password_hash_file(const char *path, GError **error)
{
    g_autofree char *text = lodge_file_read(path, PASSWORD_LIMIT_BYTES, NULL, error);
    if (text == NULL) {
        lodge_error_prefix(error, "--password-file");
        return NULL;
    }
    text[strcspn(text, "\r\n")] = '\0';
    if (*text == '\0') {
        lodge_error_set(error, LODGE_ERROR_USAGE, "--password-file: the first line of %s is empty",
                        path);
        return NULL;
    }
    /* SHA-512, which every guest's libc knows; yescrypt is younger than some of them. */
    char salt[CRYPT_GENSALT_OUTPUT_SIZE];
    struct crypt_data data = {0};
    const char *hash = crypt_gensalt_rn("$6$", 0, NULL, 0, salt, sizeof salt) != NULL
                           ? crypt_r(text, salt, &data)
                           : NULL;
    explicit_bzero(text, strlen(text));
    if (hash == NULL || *hash == '*') {
        lodge_error_errno(error, errno, "--password-file: hashing");
        return NULL;
    }
    return g_strdup(hash);
}
