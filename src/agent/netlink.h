/* The kernel's networking, by rtnetlink: questions, orders, and news of changes. */
#pragma once

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One message under construction. */
typedef struct {
    union {
        struct nlmsghdr header;
        char bytes[1024];
    } u;
} NetlinkMessage;

/* @groups: RTMGRP_…; 0 for questions and orders. -1 with errno. Does not block with groups. */
int netlink_open(uint32_t groups);

/* Begin @type with @body, which follows the header (struct ifinfomsg, ifaddrmsg …). */
void netlink_begin(NetlinkMessage *message, uint16_t type, uint16_t flags, const void *body,
                   size_t body_bytes);
void netlink_attribute(NetlinkMessage *message, uint16_t type, const void *value, size_t bytes);

/* Send it and wait for the kernel's word. 0, or an errno. */
int netlink_order(int fd, NetlinkMessage *message);

/* Ask for all of a kind and call @each with every answer. 0, or an errno. */
typedef void (*NetlinkFunc)(const struct nlmsghdr *answer, void *data);
int netlink_dump(int fd, uint16_t type, const void *body, size_t body_bytes, NetlinkFunc each,
                 void *data);

/* The attributes of an answer behind @body_bytes, by type; absent ones are NULL. */
void netlink_attributes(const struct nlmsghdr *answer, size_t body_bytes,
                        const struct rtattr *out_attributes[], unsigned count);
