/* Passwords for guests: hashed here, so that no seed holds one in the clear. */
#pragma once

#include <glib.h>

/* The crypt(5) hash of the first line of @path. Free with g_free. */
char *lodge_password_hash_file(const char *path, GError **error);
