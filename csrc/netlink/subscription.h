/*
 * A subscription: LISTEN and IGNORE requests to the kernel, on a socket of their own. It is in
 * the multicast group only while it waits for an acknowledgement, so that no event has to pass
 * through it, and the kernel's per-socket state (Linux 6.6 and later) belongs to it alone.
 *
 * The kernel counts listeners, and does not notice when one closes its socket without an
 * IGNORE; before Linux 6.6 an excess IGNORE ends another program's subscription. So each
 * LISTEN is counted before it is sent, and one IGNORE is sent for it.
 */
#ifndef PROCCONN_NETLINK_SUBSCRIPTION_H
#define PROCCONN_NETLINK_SUBSCRIPTION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct subscription {
    int socket;                    /* -1 if there is none */
    _Atomic int listen_references; /* LISTENs for which an IGNORE is to be sent */
};

void subscription_init(struct subscription *subscription);

/* Send LISTEN until the kernel acknowledges it, unless there is a subscription. The nonce
 * identifies the request. Returns 0; -ETIME if there was no acknowledgement; -ECANCELED if `wake`
 * became readable; or a negative errno, which may be that of the acknowledgement. */
int subscription_begin(struct subscription *subscription, uint32_t nonce, int64_t timeout_ns,
                       int wake);

/* Send IGNORE for each LISTEN, and close the socket. */
void subscription_end(struct subscription *subscription);

/* Close the socket of a subscription that the kernel has already dropped. */
void subscription_forget(struct subscription *subscription);

/* Close the socket if it is open, and nothing else: it may be a forked child's copy. */
void subscription_close(struct subscription *subscription);

#endif
