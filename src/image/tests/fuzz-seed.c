/* The seed that a guest reads line by line: what goes in as one value must not come out as two. */
#include "config.h"

#include <string.h>

#include "base/tests/fuzz.h"
#include "image/image.h"
#include "image/internal.h"

static guint
count_lines(const char *text)
{
    guint count = 0;
    for (const char *c = text; *c != '\0'; c++) {
        count += *c == '\n';
    }
    return count;
}

/* The values are divided by zero bytes: host name, user, password, then keys. */
static void
fuzz_one(const guint8 *data, gsize size)
{
    g_autoptr(GPtrArray) values = g_ptr_array_new_with_free_func(g_free);
    for (gsize at = 0; at < size && values->len < 16;) {
        const char *value = (const char *)data + at;
        gsize length = strnlen(value, size - at);
        g_ptr_array_add(values, g_strndup(value, length));
        at += length + 1;
    }
    guint count = values->len;
    g_ptr_array_add(values, NULL);
    LodgeSeed seed = {
        .hostname = values->pdata[0],
        .user = count > 1 ? values->pdata[1] : NULL,
        .password_hash = count > 2 ? values->pdata[2] : NULL,
        .authorized_keys = count > 3 ? (const char *const *)values->pdata + 3 : NULL,
    };
    g_autofree char *text = lodge_seed_text(&seed, NULL);
    g_assert_true(text == NULL || count_lines(text) == count);
}
