/*
 * Which events pass a socket: the rule, as a classic BPF program for the kernel (in
 * procconn.cdef) and for events that are in the process already. Pure: no system calls.
 *
 * A BPF program works on every kernel and without privilege. Linux 6.6 has masks of its own,
 * but older kernels ignore such a request without an error. What a program rejects costs the
 * reader nothing and does not count as dropped.
 */
#ifndef PROCCONN_FILTER_H
#define PROCCONN_FILTER_H

#include "internals.h"
#include "wire/message.h"

/* The u32 field with the PID of an event's own task; its TGID follows. A FORK's is the child. */
static inline size_t filter_own_word(uint32_t what)
{
    return what == PROCCONN_FORK ? CHILD_PID_WORD : 0;
}

/* Whether an event passes. */
bool procconn_filter_matches_event(const struct procconn_filter *filter,
                                   const struct procconn_event *event);

#endif
