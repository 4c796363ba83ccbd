/* System calls that several files make. They return 0 or a negative errno, unless they say
 * otherwise. */
#ifndef PROCCONN_SYSTEM_H
#define PROCCONN_SYSTEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NS_PER_S = 1000000000 };

struct procconn_filter;
struct procconn_bpf;

int64_t procconn_now_ns(void); /* CLOCK_MONOTONIC */

int64_t procconn_earlier(int64_t a, int64_t b); /* a negative time is never */

/* Wait until `fd` (unless it is -1) is readable: 1; until the time: 0; or until `wake` is
 * readable: -ECANCELED. Or a negative errno. An error on the socket counts as readable: the
 * next receive returns it. */
int procconn_sleep(int fd, int wake, int64_t until_ns);

void *procconn_map(size_t size); /* NULL if there is no memory */

/* Open a socket of the connector; bind it to the multicast group of process events. */
int procconn_open_netlink(int *fd);
int procconn_join_group(int fd);

/* Have the kernel apply a program, or a filter, to what it queues from now on. */
int procconn_attach_bpf(int fd, const struct procconn_bpf *bpf);
int procconn_attach_filter(int fd, const struct procconn_filter *filter);

/* Whether the kernel sent a datagram: processes can send to a socket as well, and have ports.
 * Takes a sender's address (struct netlink_address) and its size, as a receive returns them. */
bool procconn_is_from_kernel(const void *address, size_t size);

/* Read the memory use and the drops of a socket (SO_MEMINFO, linux/sock_diag.h). False before
 * Linux 4.12, which does not report them. */
enum { MEMINFO_QUEUED = 0, MEMINFO_LIMIT = 1, MEMINFO_DROPS = 8, MEMINFO_COUNT = 9 };
bool procconn_read_meminfo(int fd, uint32_t meminfo[MEMINFO_COUNT]);

/* Set the size of the receive buffer, beyond net.core.rmem_max with CAP_NET_ADMIN. */
int procconn_enlarge(int fd, int size);

/* Close *fd unless it is -1. It is set to -1 first: a child that is forked meanwhile must not
 * close the same number again. */
void procconn_close_descriptor(int *fd);

/* Start a detached thread with all signals blocked and a small stack. Returns -EAGAIN if it
 * cannot be started, also if a sandbox refuses it. */
int procconn_start_detached(void *(*run)(void *), void *argument);

#endif
