/* What most tests of networks begin with: a host, which is the test's own namespace, with a store
 * of its own, and a namespace outside of it. */
#pragma once

#include "net/net.h"
#include "net/tests/netns.h"

typedef struct {
    char *folder; /* LODGE_DIR */
    LodgeStore *store;
    LodgeNet *net;
    Netns *outside;
    char *before; /* what netns_dump() told when all was ready */
} TestHost;

void test_host_open(TestHost *host);

/* Give it eth0, which is 192.0.2.2 and 2001:db8::2, with outside's up0 behind, .1 and ::1. */
void test_host_add_uplink(TestHost *host);

/* Assert that all is as it was @before, then remove eth0 and everything. */
void test_host_close(TestHost *host);

/* Fixture functions of a host with that uplink, by which its default route goes. */
void test_host_set_up(TestHost *host, gconstpointer data);
void test_host_tear_down(TestHost *host, gconstpointer data);

/* A network of both families, which the host translates. */
#define TEST_HOST_NAT "[network]\nsubnet=10.77.0.0/24\nprefix=fd77:0:0:1::/64\n"

/* Write a network's definition. Free with lodge_network_free. */
LodgeNetwork *test_host_define(TestHost *host, const char *name, const char *text);

/* Start it with its services, or stop it; it must work. */
void test_host_start(TestHost *host, const LodgeNetwork *network);
void test_host_stop(TestHost *host, const char *name);
