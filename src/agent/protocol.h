/* What lodge-agent and the host say to each other. Stands alone: both sides compile it.
 *
 * The guest has a virtio-serial device with the ports org.lodge.agent.0 to .7. Port 0 is the
 * control port, whose peer is the guest's keeper; 1 to 7 are session ports. Whoever holds a session
 * port's lock on the host has a conversation there: hello, then one request after another, until it
 * hangs up, which ends all that the conversation began.
 *
 * Frame:  1 byte type, 3 bytes length (big-endian, at most FRAME_LIMIT), payload.
 * Fields: most payloads are a sequence of fields, each made like a frame: 1 byte tag, 3 bytes
 * length, value. Values are texts (any bytes but NUL, not terminated) or numbers (8 bytes,
 *         big-endian). Unknown tags are skipped. DATA, ERROR_DATA and DATA_END have no fields.
 *
 * Resynchronization. Neither side sees for sure where a predecessor's bytes end, in either
 * direction: a port cuts its peers off anywhere, and keeps what nobody took. So:
 *   - The 16 bytes MAGIC stand in front of each HELLO, and nowhere else in the stream. A sender
 *     whose DATA contains them parts it into two frames in their midst; any other payload that
 *     contains them is not sent. No frame type is a byte of MAGIC, and its bytes are all different,
 *     so it can't come about across frames, nor overlap with itself.
 *   - A receiver looks for MAGIC in all that comes, inside frames too. Where it stands, all before
 *     it is void and the conversation that it belonged to is over; a HELLO follows.
 *   - The host begins with MAGIC, HELLO with a random nonce. The agent ends what it was at, drops
 *     what it has not sent yet, and answers MAGIC, HELLO with that nonce. The host drops all until
 *     then, other agents' answers included.
 *   - An agent that begins to serve a port without having been greeted says MAGIC, HELLO with a
 *     nonce of zeros: a host in the midst of a conversation learns that it is over (the guest was
 *     rebooted), a keeper greets again.
 *
 * Requests may be sent before the last one's answer has come. Each has exactly one answer, in
 * order: RESULT or FAILED, behind whatever it streams. An unknown request has FAILED with
 * PROBLEM_UNSUPPORTED. A request of more than one frame is begun by MORE frames, whose fields stand
 * before its own; REQUEST_LIMIT bounds the whole. DATA, DATA_END, SIGNAL, RESIZE and PING that
 * come when no request wants them are dropped: the host may have sent them before it saw the end.
 *
 * Flow. What the agent sends is held up by the port itself. What a program in the guest reads on
 * standard input is not, or a signal could not overtake it: the host sends at most WINDOW bytes of
 * DATA, and further ones as WINDOW frames allow. Files (PUT) need no window: the agent writes them
 * as they come. So the agent always reads, and always sees a hello. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    PROTOCOL_VERSION = 2, /* 2: PING */
    PORT_COUNT = 8,
    HEADER_BYTES = 4,
    FRAME_LIMIT = 64 * 1024,
    REQUEST_LIMIT = 1024 * 1024,
    WINDOW_BYTES = 128 * 1024,
    MAGIC_BYTES = 16,
    NONCE_BYTES = 16,
    MAGIC_LOWEST = 0xf0, /* no byte of MAGIC is below */
};

#define PORT_NAME "org.lodge.agent."
#define PORT_SOCKET "agent-%u.sock" /* where the host, or a test, connects to one */
#define MAGIC "\xfa\xf3\xfe\xf0\xf9\xf5\xfc\xf2\xf8\xf1\xff\xf6\xfb\xf4\xfd\xf7"

typedef enum {
    /* Both ways: NONCE, PROTOCOL; from the agent VERSION too. */
    FRAME_HELLO = 0x01,

    /* Host to agent: requests, with their fields -> what is streamed -> fields of RESULT. */
    FRAME_MORE = 0x10,      /* the first fields of the request that follows */
    FRAME_EXEC = 0x11,      /* ARGUMENT…, VARIABLE…, FOLDER, USER, FLAGS, ROWS, COLUMNS
                               -> DATA, ERROR_DATA, WINDOW -> STATUS or SIGNAL */
    FRAME_PUT = 0x12,       /* PATH, MODE, UID, GID, MTIME, SIZE, FLAGS; the host then streams DATA,
                               DATA_END -> -> */
    FRAME_GET = 0x13,       /* PATH, FLAGS -> per file ITEM, and of a regular one DATA, DATA_END */
    FRAME_MKDIR = 0x14,     /* PATH, MODE, UID, GID, MTIME; one that exists is fine */
    FRAME_SYMLINK = 0x15,   /* PATH, TARGET; replaces what is no folder */
    FRAME_STAT = 0x16,      /* PATH, FLAGS -> -> as ITEM */
    FRAME_LIST = 0x17,      /* PATH -> ITEM… */
    FRAME_INFO = 0x18,      /* -> -> see INFO fields */
    FRAME_ADDRESSES = 0x19, /* -> -> per NIC: NIC, MAC, LINK, ADDRESS… */
    FRAME_IDENTITY = 0x1a,  /* see IDENTITY fields -> -> per part: PART, CODE, TEXT */
    FRAME_FREEZE = 0x1b,    /* TIMEOUT_MS -> -> COUNT */
    FRAME_THAW = 0x1c,      /* FAILED with TIMEOUT if it thawed by itself */
    FRAME_TRIM = 0x1d,      /* -> -> COUNT, SIZE */
    FRAME_SYNC = 0x1e,
    FRAME_SHUTDOWN = 0x1f, /* MODE: SHUTDOWN_POWEROFF, SHUTDOWN_REBOOT */

    /* Host to agent, within a request. DATA and DATA_END go both ways. */
    FRAME_DATA = 0x30,
    FRAME_DATA_END = 0x31,
    FRAME_SIGNAL = 0x32, /* SIGNAL: to the program's process group */
    FRAME_RESIZE = 0x33, /* ROWS, COLUMNS */
    FRAME_PING = 0x34,   /* within EXEC: answered by PONG, as long as the guest lives */

    /* Agent to host. */
    FRAME_RESULT = 0x40,
    FRAME_FAILED = 0x41,     /* CODE, TEXT */
    FRAME_ERROR_DATA = 0x42, /* standard error */
    FRAME_WINDOW = 0x43,     /* SIZE: so many bytes of DATA more */
    FRAME_PONG = 0x45,
    FRAME_ITEM = 0x44, /* PATH, KIND, MODE, UID, GID, SIZE, MTIME, TARGET */

    /* Agent to host on the control port, unasked: after each hello, and at each change. INFO and
     * ADDRESSES are answered with these too there, and nothing else is asked. */
    FRAME_READY = 0x50,         /* VERSION, and INFO's of the system */
    FRAME_ADDRESSES_NOW = 0x51, /* as ADDRESSES */
    FRAME_INFO_NOW = 0x52,
} FrameType;

typedef enum {
    FIELD_NONCE = 0x01,
    FIELD_PROTOCOL,
    FIELD_VERSION,
    FIELD_CODE,
    FIELD_TEXT,

    FIELD_ARGUMENT = 0x10,
    FIELD_VARIABLE, /* NAME=VALUE */
    FIELD_FOLDER,
    FIELD_USER,
    FIELD_FLAGS,
    FIELD_ROWS,
    FIELD_COLUMNS,
    FIELD_STATUS,
    FIELD_SIGNAL,

    FIELD_PATH = 0x20, /* absolute in requests; in ITEM a name, or a way below what was asked for */
    FIELD_KIND,        /* one of KIND_… */
    FIELD_MODE,
    FIELD_UID,
    FIELD_GID,
    FIELD_SIZE,
    FIELD_MTIME, /* nanoseconds since 1970 */
    FIELD_TARGET,
    FIELD_COUNT,
    FIELD_TIMEOUT_MS,

    FIELD_NIC = 0x30, /* name; in IDENTITY also a MAC, or "" for the only one. Begins a NIC. */
    FIELD_MAC,        /* 52:54:00:12:34:56 */
    FIELD_LINK,       /* 0 down, 1 up */
    FIELD_ADDRESS,    /* 10.77.0.12/24 */
    FIELD_GATEWAY,
    FIELD_DHCP, /* any value: ask for a lease anew */
    FIELD_DNS,
    FIELD_SEARCH,

    /* IDENTITY, besides those of NICs. What is absent stays as it is. */
    FIELD_HOSTNAME = 0x40,
    FIELD_MACHINE_ID,
    FIELD_CLOCK,     /* nanoseconds since 1970 */
    FIELD_ENTROPY,   /* bytes */
    FIELD_KEYS_USER, /* whose authorized keys the KEYS behind it are, joined; root if absent */
    FIELD_KEYS,      /* lines; they replace those that were */
    FIELD_FILE,      /* a path: the MODE and CONTENT behind it, joined, become that file */
    FIELD_CONTENT,
    FIELD_PART, /* in its RESULT: "hostname", "nic eth0", "file /etc/…" */

    /* INFO */
    FIELD_OS_ID = 0x60, /* of os-release: debian */
    FIELD_OS_VERSION,   /* 12 */
    FIELD_OS_NAME,      /* Debian GNU/Linux 12 (bookworm) */
    FIELD_KERNEL,
    FIELD_BOOT_ID,
    FIELD_UPTIME_MS,
    FIELD_LOAD, /* thousandths, of the last minute */
    FIELD_USERS,
    FIELD_MEMORY_TOTAL, /* bytes, as all of these */
    FIELD_MEMORY_AVAILABLE,
    FIELD_MEMORY_FREE,
    FIELD_SWAP_TOTAL,
    FIELD_SWAP_FREE,
} FieldTag;

enum {
    EXEC_TERMINAL = 1 << 0, /* a pseudoterminal of ROWS x COLUMNS, its output as DATA */
    EXEC_MERGE = 1 << 1,    /* standard error goes where standard output goes */
    EXEC_NO_INPUT = 1 << 2, /* standard input is empty */

    PUT_SYNC = 1 << 0, /* on the disk before it takes the name */
    PUT_NEW = 1 << 1,  /* refuse to replace */

    GET_TREE = 1 << 0, /* a folder with all below; ITEM's PATH is "" for itself */

    STAT_FOLLOW = 1 << 0,
};

typedef enum {
    KIND_FILE = 1,
    KIND_FOLDER,
    KIND_SYMLINK,
    KIND_OTHER, /* a device, pipe or socket: never copied */
} FileKind;

typedef enum { SHUTDOWN_POWEROFF = 1, SHUTDOWN_REBOOT } ShutdownMode;

typedef enum {
    PROBLEM_NONE = 0, /* of a part of IDENTITY: done */
    PROBLEM_FAILED,
    PROBLEM_NOT_FOUND,
    PROBLEM_EXISTS,
    PROBLEM_BUSY,
    PROBLEM_UNSUPPORTED,
    PROBLEM_INVALID,
    PROBLEM_TIMEOUT,
} Problem;

typedef struct {
    uint8_t tag;
    uint32_t length;
    const uint8_t *value;
} Field;

typedef struct {
    const uint8_t *next;
    size_t left;
} FieldReader;

static inline void
header_write(uint8_t *header, uint8_t type, uint32_t length)
{
    header[0] = type;
    header[1] = (uint8_t)(length >> 16);
    header[2] = (uint8_t)(length >> 8);
    header[3] = (uint8_t)length;
}

static inline uint32_t
header_length(const uint8_t *header)
{
    return (uint32_t)header[1] << 16 | (uint32_t)header[2] << 8 | header[3];
}

static inline void
number_write(uint8_t *value, uint64_t number)
{
    for (int i = 7; i >= 0; i--, number >>= 8) {
        value[i] = (uint8_t)number;
    }
}

/* False unless the field is 8 bytes long. */
static inline bool
field_number(const Field *field, uint64_t *out_number)
{
    if (field->length != 8) {
        return false;
    }
    *out_number = 0;
    for (int i = 0; i < 8; i++) {
        *out_number = *out_number << 8 | field->value[i];
    }
    return true;
}

/* The next field: 1; 0 at the end; -1 if what follows is none. */
static inline int
field_next(FieldReader *reader, Field *out_field)
{
    if (reader->left == 0) {
        return 0;
    }
    if (reader->left < HEADER_BYTES || header_length(reader->next) > reader->left - HEADER_BYTES) {
        return -1;
    }
    out_field->tag = reader->next[0];
    out_field->length = header_length(reader->next);
    out_field->value = reader->next + HEADER_BYTES;
    reader->next += HEADER_BYTES + out_field->length;
    reader->left -= HEADER_BYTES + out_field->length;
    return 1;
}

/* Where MAGIC first begins in @bytes; @length if it does not. Looks at one byte in sixteen where
 * none of MAGIC's are, which is nearly everywhere. */
static inline size_t
magic_find(const uint8_t *bytes, size_t length)
{
    /* How far from MAGIC's end the byte MAGIC_LOWEST + i stands in it. */
    static const uint8_t from_end[16] = {12, 6, 8, 14, 2, 10, 4, 0, 7, 11, 15, 3, 9, 1, 13, 5};
    size_t at = MAGIC_BYTES - 1;
    while (at < length) {
        uint8_t byte = bytes[at];
        if (byte < MAGIC_LOWEST) {
            at += MAGIC_BYTES;
        } else if (from_end[byte - MAGIC_LOWEST] != 0) {
            at += from_end[byte - MAGIC_LOWEST];
        } else if (memcmp(bytes + at - (MAGIC_BYTES - 1), MAGIC, MAGIC_BYTES) == 0) {
            return at - (MAGIC_BYTES - 1);
        } else {
            at += MAGIC_BYTES;
        }
    }
    return length;
}
