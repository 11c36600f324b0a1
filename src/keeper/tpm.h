/* A guest's TPM: swtpm beside QEMU. Private to the keeper. */
#pragma once

#include <glib.h>
#include <sys/types.h>

#include "store/store.h"

typedef struct {
    pid_t pid; /* 0: none */
    int pid_fd;
    int socket; /* QEMU's end, until QEMU has it */
} Tpm;

#define TPM_NONE ((Tpm){.pid_fd = -1, .socket = -1})

/* Start swtpm if the guest has a TPM: as QEMU's user, and with the guest's own state, which is made
 * at the first start. UNSUPPORTED with the mend if swtpm is not installed. */
gboolean tpm_begin(Tpm *tpm, const LodgeStore *store, const LodgeGuest *guest, GError **error);

/* QEMU has ended, or never began: so does swtpm, which has the state no more then. */
void tpm_end(Tpm *tpm);
