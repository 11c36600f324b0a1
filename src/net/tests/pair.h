/* What tests of guests begin with: a network and two guests, A and B, whose taps the test holds:
 * what it writes there is what a guest would send. */
#pragma once

#include "net/tests/host.h"

#define MAC_A "52:54:00:00:00:0a"
#define MAC_B "52:54:00:00:00:0b"
#define MAC_ALL "ff:ff:ff:ff:ff:ff"

typedef struct {
    TestHost host;
    LodgeNetwork *network;
    LodgePort ports[2];
    LodgeNetworkLease leases[2];
    int taps[2];
} TestPair;

/* Fixture functions; the data is the text of the network's definition. */
void test_pair_set_up(TestPair *pair, gconstpointer data);
void test_pair_tear_down(TestPair *pair, gconstpointer data);

/* Give guest @number, 0 or 1, its lease and its tap. */
void test_pair_attach(TestPair *pair, guint number, gboolean filter);
