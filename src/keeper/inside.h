/* What a guest's lodge-agent tells of it on its control port. Private to the keeper.
 *
 * The port's socket is there before QEMU is, so one connection lasts as long as QEMU does: agents
 * come and go in the guest behind it, and each says READY and its addresses by itself. */
#pragma once

#include <glib.h>

#include "base/base.h"

typedef struct Inside Inside;

/* @changed (with @data) is called when inside_json() is another: @came tells whether an agent
 * came (1), went (-1), or said something new (0). */
Inside *inside_new(const char *run_folder, void (*changed)(int came, gpointer data), gpointer data);
void inside_free(Inside *inside);

/* QEMU runs: listen. @known: what a keeper before us published, believed until the agent speaks, or
 * its port is seen to be closed; may be NULL. A QEMU without such a port is fine. */
void inside_begin(Inside *inside, const json_t *known);

/* The guest has closed the port: its agent, or the guest itself, has ended. */
void inside_closed(Inside *inside);

/* QEMU has ended. */
void inside_end(Inside *inside);

/* {"version", "hostname", "os", "kernel": text or null,
 *  "nics": [{"name", "mac", "up", "addresses": […]}…]}; NULL: no agent. Borrowed. */
json_t *inside_json(const Inside *inside);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Inside, inside_free)
