/* Feeds bytes to the agent as if a host had sent them: resynchronization, frames, requests. What
 * would run programs, write files where they say, or touch the machine, is only parsed here.
 *
 * Built for libFuzzer with `meson setup -Dfuzz=true` and clang; else a program that runs the files
 * in seeds/ through it, as a test. In them the bytes "MAGIC" stand for the mark. */
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/exec.h"
#include "agent/item.h"
#include "agent/session.h"

enum {
    INPUT_LIMIT_BYTES = 100 * 1024,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Defined here, so the linker takes none of the agent's own. */
static void
parse_file(Session *session, FieldReader *fields)
{
    FileRequest request;
    bool fine = file_request_parse(fields, &request);
    file_request_clear(&request);
    if (fine) {
        session_result(session);
    } else {
        link_fail(&session->link, PROBLEM_INVALID, "malformed");
    }
}

void
exec_request(Session *session, FieldReader *fields)
{
    Program program = {0};
    bool fine = program_parse(fields, &program);
    program_clear(&program);
    if (fine) {
        session_result(session);
    } else {
        link_fail(&session->link, PROBLEM_INVALID, "malformed");
    }
}

#define ONLY_PARSED(name)                                                                          \
    void name(Session *session, FieldReader *fields)                                               \
    {                                                                                              \
        parse_file(session, fields);                                                               \
    }

/* clang-format off */
ONLY_PARSED(put_request)
ONLY_PARSED(get_request)
ONLY_PARSED(mkdir_request)
ONLY_PARSED(symlink_request)
ONLY_PARSED(stat_request)
ONLY_PARSED(list_request)
ONLY_PARSED(freeze_request)
ONLY_PARSED(thaw_request)
ONLY_PARSED(trim_request)
ONLY_PARSED(shutdown_request)
/* clang-format on */

void
session_thaw(Session *session)
{
    (void)session;
}

static int
remove_entry(const char *path, const struct stat *about, int type, struct FTW *where)
{
    (void)about;
    (void)type;
    (void)where;
    return remove(path);
}

static void
remove_root(void)
{
    nftw(settings.root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void
make_root(void)
{
    static char root[] = "/tmp/lodge-fuzz-XXXXXX";
    char path[64];
    if (settings.root[0] == '\0' && mkdtemp(root) != NULL) {
        settings.root = root;
        settings.port_dir = root;
        settings.dry = true;
        snprintf(path, sizeof path, "%s/etc", root);
        mkdir(path, 0700);
        atexit(remove_root);
    }
}

static size_t
with_magic(const uint8_t *data, size_t size, uint8_t *out)
{
    size_t length = 0;
    for (size_t i = 0; i < size;) {
        if (size - i >= 5 && memcmp(data + i, "MAGIC", 5) == 0) {
            memcpy(out + length, MAGIC, MAGIC_BYTES);
            length += MAGIC_BYTES;
            i += 5;
        } else {
            out[length++] = data[i++];
        }
    }
    return length;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t bytes[4 * INPUT_LIMIT_BYTES];
    int pair[2];
    make_root();
    if (settings.root[0] == '\0' || size > INPUT_LIMIT_BYTES / 4 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
        return 0;
    }
    size_t length = with_magic(data, size, bytes);
    if (send(pair[1], bytes, length, MSG_NOSIGNAL) >= 0) {
        shutdown(pair[1], SHUT_WR);
        session_run(pair[0], -1);
    }
    close(pair[0]);
    close(pair[1]);
    return 0;
}

#ifndef LODGE_FUZZ

static size_t
read_seed(const char *path, uint8_t *bytes, size_t limit)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return 0;
    }
    size_t size = fread(bytes, 1, limit, file);
    fclose(file);
    return size;
}

/* Each seed whole, cut short at each place, and with a bit of it wrong. */
int
main(int argc, char **argv)
{
    static uint8_t bytes[INPUT_LIMIT_BYTES / 4];
    printf("1..%d\n", argc - 1);
    for (int i = 1; i < argc; i++) {
        size_t size = read_seed(argv[i], bytes, sizeof bytes);
        LLVMFuzzerTestOneInput(bytes, size);
        for (size_t j = 0; j < size; j++) {
            LLVMFuzzerTestOneInput(bytes, j);
            bytes[j] ^= (uint8_t)(1 << j % 8);
            LLVMFuzzerTestOneInput(bytes, size);
            bytes[j] ^= (uint8_t)(1 << j % 8);
        }
        printf("%s %d - %s\n", size > 0 ? "ok" : "not ok", i, argv[i]);
    }
    return 0;
}

#endif
