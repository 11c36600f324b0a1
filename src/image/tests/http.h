/* A web server for tests, on 127.0.0.1, in a process of its own. */
#pragma once

#include <sys/types.h>

/* Serve the files of @folder; returns the port. The first part of a path says how:
 *   /files/NAME     well: with ranges and an ETag
 *   /plain/NAME     without ranges
 *   /cut/NAME       half of what is asked for, then the connection breaks; ranges work
 *   /cutonce/NAME   the same, but only for requests without a range
 *   /slow/NAME      half of it, then nothing until the other side gives up
 *   /busy/NAME      503 the first time, then well
 *   /moved/NAME     a redirect to /files/NAME
 *   /outward/NAME   a redirect to ftp://
 *   /round/NAME     a redirect to itself
 *   /bogus/NAME     an answer to another range than was asked for
 * Every request is noted in @folder/.requests: "GET /path range". */
int test_http_start(const char *folder);
void test_http_stop(void);
