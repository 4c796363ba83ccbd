/* System calls that several files make. 0 or a negative errno each. */
#ifndef PROCCONN_SYSTEM_H
#define PROCCONN_SYSTEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NS_PER_S = 1000000000 };

struct procconn_filter;
struct procconn_bpf;

int64_t procconn_now_ns(void); /* CLOCK_MONOTONIC */

int64_t procconn_earlier(int64_t a, int64_t b); /* negative: never */

/* Sleep until `fd` (unless -1) or `wake` is readable, or the time has come. Returns 1, 0
 * or a negative errno; -ECANCELED is for `wake`. An error on the socket counts as
 * readable: the next receive tells what it was. */
int procconn_sleep(int fd, int wake, int64_t until_ns);

void *procconn_map(size_t size); /* NULL if there is no memory */

/* A socket of the connector, not bound; then in the group of process events. */
int procconn_open_netlink(int *fd);
int procconn_join_group(int fd);

/* Have the kernel apply a program, or a filter, to what it queues from now on. */
int procconn_attach_bpf(int fd, const struct procconn_bpf *bpf);
int procconn_attach_filter(int fd, const struct procconn_filter *filter);

/* Whether the kernel sent a datagram: processes can send to a socket as well, and have ports.
 * Takes a sender's address (struct netlink_address) and its size, as a receive returns them. */
bool procconn_is_from_kernel(const void *address, size_t size);

/* What a socket's receive buffer holds (linux/sock_diag.h, for SO_MEMINFO). False before
 * Linux 4.12, which does not tell. */
enum { MEMINFO_QUEUED = 0, MEMINFO_LIMIT = 1, MEMINFO_DROPS = 8, MEMINFO_COUNT = 9 };
bool procconn_read_meminfo(int fd, uint32_t meminfo[MEMINFO_COUNT]);

/* Ask for a receive buffer, by privilege if possible. */
int procconn_enlarge(int fd, int size);

/* Close a descriptor, unless it is -1. Forgotten first: a child that is forked meanwhile must
 * not close the number again. */
void procconn_close_descriptor(int *place);

/* Start a thread that nobody joins and no signal comes to, with a stack of its own size.
 * Fails with -EAGAIN, also where a sandbox refuses. */
int procconn_start_detached(void *(*run)(void *), void *argument);

#endif
