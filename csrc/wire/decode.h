/* The walk over a netlink buffer: pure C, no allocation, no I/O, no state. */
#ifndef PROCCONN_DECODE_H
#define PROCCONN_DECODE_H

#include "internals.h"
#include "wire/message.h"

/*
 * Decode the message at walk->offset and step over it. Returns a procconn_status; fills *event for
 * PROCCONN_EVENT, its timestamp_ns and lost for PROCCONN_LOST, and walk->error for PROCCONN_ERROR.
 * Checks that bytes exist before it reads them, and reads each length once, so a buffer that
 * changes meanwhile does no harm.
 */
enum procconn_status procconn_next(struct procconn_walk *walk, struct procconn_event *event);

/* Find the acknowledgement of a request, whose cn_msg.ack the kernel sets to one more than the
 * request's. Returns its errno (0 = accepted), or -1 if it is not in the buffer. */
int64_t procconn_find_acknowledgement(const uint8_t *buffer, size_t size, uint32_t ack);

/* Return the kind with this `what`; NULL if the library knows none. */
static inline const struct procconn_kind *procconn_kind_of(uint32_t what)
{
    const struct procconn_kind *kind;

    if (what == 0 || (what & (what - 1)) != 0) /* kinds have one bit each */
        return NULL;
    kind = &procconn_kinds[__builtin_ctz(what)];
    return kind->words != 0 ? kind : NULL;
}

/* Return the distance from a complete message to the next; the last one's padding may be
 * missing. */
static inline size_t procconn_span(size_t length, size_t left)
{
    size_t padding = -length % NLMSG_ALIGNMENT;

    return left - length < padding ? left : length + padding;
}

#endif
