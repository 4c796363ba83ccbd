/*
 * A netlink socket: open it, join the group of process events, size its receive buffer, attach a
 * filter, count drops. Functions return 0 or a negative errno unless they say otherwise.
 */
#ifndef PROCCONN_NETLINK_SOCKET_H
#define PROCCONN_NETLINK_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "internals.h"

/* Open a socket of the connector; bind it to the multicast group of process events. */
int netlink_open(int *fd);
int netlink_join_group(int fd);

/* Attach a BPF program, or a filter, which the kernel applies to what it queues from now on. */
int netlink_attach_program(int fd, const struct procconn_bpf *bpf);
int netlink_attach_filter(int fd, const struct procconn_filter *filter);

/* Set the size of the receive buffer in bytes, as in setsockopt(); beyond net.core.rmem_max with
 * CAP_NET_ADMIN. */
int netlink_set_receive_buffer(int fd, int size);

/* Let the kernel continue queueing after an overrun. Otherwise the next receive fails with ENOBUFS,
 * and the kernel drops everything until the receive buffer is empty. */
int netlink_ignore_overruns(int fd);

/* Read the memory use and the drops of a socket (SO_MEMINFO, linux/sock_diag.h). Returns false
 * before Linux 4.12, which does not report them, and where a sandbox refuses it. */
enum { MEMINFO_QUEUED = 0, MEMINFO_LIMIT = 1, MEMINFO_DROPS = 8, MEMINFO_COUNT = 9 };
bool netlink_read_meminfo(int fd, uint32_t meminfo[MEMINFO_COUNT]);

/* Return whether the kernel sent a datagram; other processes can send to the socket, too. Takes a
 * sender's address (struct netlink_address) and its size, as a receive returns them. */
bool netlink_is_from_kernel(const void *address, size_t size);

#endif
