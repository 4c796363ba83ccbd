/* The clock, waiting, memory, descriptors and threads. Functions return 0 or a negative errno
 * unless they say otherwise. */
#ifndef PROCCONN_SYSTEM_H
#define PROCCONN_SYSTEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NS_PER_S = 1000000000, NS_PER_MS = 1000000 };

int64_t procconn_now_ns(void); /* CLOCK_MONOTONIC */

int64_t procconn_earlier(int64_t a, int64_t b); /* negative: never */

/* Wait until `fd` is readable, unless it is -1 (returns 1), the time has come (returns 0), or
 * `wake` is readable (returns -ECANCELED). Other errnos are those of the wait. An error on the
 * socket counts as readable: the next receive returns it. */
int procconn_sleep(int fd, int wake, int64_t until_ns);

void *procconn_map(size_t size); /* NULL if out of memory */

/* Close *fd unless it is -1. It is set to -1 first: a child that is forked meanwhile must not
 * close the same number again. */
void procconn_close_descriptor(int *fd);

/* Start a detached thread with all signals blocked and a small stack. Returns -EAGAIN if it cannot
 * be started, for example because a sandbox refuses it. */
int procconn_start_detached(void *(*run)(void *), void *argument);

/* Give the calling thread real-time priority. Returns an enum procconn_realtime. */
int procconn_become_realtime(void);

/* Give the calling thread a descriptor table of its own, with the `kept` descriptors, and `filler`
 * in place of standard input, output and error. Returns false if the kernel cannot, or may not. */
bool procconn_unshare_descriptors(const int *kept, size_t count, int filler);

#endif
