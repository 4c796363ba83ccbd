/* When the stream last received anything, and whether its subscription is alive. */
#ifndef PROCCONN_HEARTBEAT_H
#define PROCCONN_HEARTBEAT_H

#include <stdatomic.h>
#include <stdint.h>

struct procconn_stream;

struct heartbeat {
    _Atomic int64_t last_rx_ns; /* when a datagram was last received, or a check was made */
};

static inline void heartbeat_note_rx(struct heartbeat *heartbeat, int64_t now_ns)
{
    heartbeat->last_rx_ns = now_ns;
}

/* When the next check is due unless something is received earlier; -1 if checks are off. */
static inline int64_t heartbeat_due_ns(const struct heartbeat *heartbeat, int64_t interval_ns)
{
    return interval_ns > 0 ? heartbeat->last_rx_ns + interval_ns : -1;
}

/* Cause an event and check that it arrives. Returns 0 if the subscription is alive or cannot be
 * checked, -ENOTCONN if it is not. Called by the receiver. */
int stream_check_liveness(struct procconn_stream *stream);

#endif
