/* A point of a backup: point.conf in FOLDER/GUEST/TIME. */
#pragma once

#include <glib.h>

#include "model/schema.h"

/* In the order of the words in the key table of point.c. */
typedef enum {
    LODGE_POINT_STOPPED, /* the guest was stopped */
    LODGE_POINT_FROZEN,  /* it ran, and its file systems were at rest */
    LODGE_POINT_PLUG,    /* it ran: disks as if the plug had been pulled */
} LodgePointKind;

typedef struct {
    char *name;
    char *file;         /* a qcow2 beside point.conf */
    guint64 size_bytes; /* as the guest sees it */
    guint64 bytes;      /* of the file */
    char *sha256;       /* of the file */
    gboolean full;      /* stands on nothing; else on the parent's file of the same name */
    char *why;          /* why it is full; NULL: it was to be, or is not */
} LodgePointDisk;

typedef struct {
    char *name;       /* its folder's, the time in UTC: "20261121-154423" */
    char *guest;      /* whose */
    char *made;       /* ISO 8601 */
    char *parent;     /* the point that its disks stand on; NULL: none of them stands on any */
    int kind;         /* LodgePointKind */
    char *definition; /* SHA-256 of guest.conf beside it */
    char *variables;  /* of `variables`, the UEFI variables; NULL: there are none */
    char *seed;       /* the file beside it that told the guest who it is; NULL: none did */
    char *seed_sha256;
    char *tpm;        /* SHA-256 of `tpm`, the state of its TPM; NULL: there is none */
    GPtrArray *disks; /* LodgePointDisk * */
} LodgePoint;

/* The name of the point that is made at @time_s, seconds of the Unix epoch. Free with g_free. */
char *lodge_point_name(gint64 time_s);
/* The reverse; -1 if it is none's. */
gint64 lodge_point_time(const char *name);

LodgePoint *lodge_point_new(const char *name);

/* Parse a point.conf, which may come from anywhere. INVALID error with line and reason. */
LodgePoint *lodge_point_parse(const char *name, const char *text, gsize length, GError **error);

/* As the text of a point.conf. Free with g_free. */
char *lodge_point_format(const LodgePoint *point);

/* Add a disk without values, borrowed. */
LodgePointDisk *lodge_point_add_disk(LodgePoint *point, const char *name);

/* Borrowed; NULL if it has no disk of that name. */
LodgePointDisk *lodge_point_disk(const LodgePoint *point, const char *name);

/* Bytes of all its disks' files. */
guint64 lodge_point_bytes(const LodgePoint *point);

/* Do all of its disks stand on nothing? */
gboolean lodge_point_is_full(const LodgePoint *point);

/* "stopped", "frozen", "plug". Static. */
const char *lodge_point_kind_word(int kind);

void lodge_point_free(LodgePoint *point);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgePoint, lodge_point_free)
