/* User-mode networks by passt. Private to lodge-keeper. */
#pragma once

#include <glib.h>

#include "qemu/command.h"
#include "store/store.h"

/* The passts of one guest: one for each NIC that has one. */
typedef struct Passts Passts;

/* One was begun for NIC @nic of a QEMU that runs: it knows the guest's MAC only when it hears of
 * it, and no connection gets in before. */
typedef void (*PasstsFunc)(const char *nic, gpointer data);

/* @store and @guest must outlive it. @on_begun gets @data. */
Passts *passts_new(const LodgeStore *store, const char *guest, PasstsFunc on_begun, gpointer data);

/* Look after them no more. They go on as long as their QEMU. */
void passts_free(Passts *passts);

/* Before QEMU starts: begin one for each NIC on the network `user`, and put into its element of
 * @taps the socket where QEMU is to listen. Where none can be had, for want of a passt that is new
 * enough or because it fails (which is an event), @taps is left alone: QEMU's own network serves.
 * @ssh_port: to the first NIC's SSH; 0: none. */
void passts_begin(Passts *passts, const LodgeGuest *guest, guint ssh_port, LodgeTap *taps);

/* Look after those that another keeper began, of a QEMU that runs. */
void passts_adopt(Passts *passts, const LodgeGuest *guest, guint ssh_port);

/* The definition has changed: begin anew those whose forwards are others, which cuts what goes
 * through them, and end those whose NIC went elsewhere. passt-N.json says how that went. */
void passts_follow(Passts *passts, const LodgeGuest *guest);

/* QEMU has ended, or never began: so do they. */
void passts_end(Passts *passts);
