/* The walk over a netlink buffer: pure C, no allocation, no I/O, no state. */
#ifndef PROCCONN_DECODE_H
#define PROCCONN_DECODE_H

#include "event.h"

/*
 * Look at the message at walk->offset and step behind it. Returns a
 * procconn_status; fills *event for PROCCONN_EVENT, its timestamp_ns and lost for
 * PROCCONN_LOST, and walk->error for PROCCONN_ERROR. Every byte is checked to be
 * there before it is read, and each length is read once, so a buffer that changes
 * meanwhile does no harm.
 */
enum procconn_status procconn_next(struct procconn_walk *walk, struct procconn_event *event);

/* The way from a whole message to the next; padding missing at the very end is forgiven. */
static inline size_t procconn_span(size_t length, size_t left)
{
    size_t padding = -length % NLMSG_ALIGNMENT;

    return left - length < padding ? left : length + padding;
}

#endif
