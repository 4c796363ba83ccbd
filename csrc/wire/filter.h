/*
 * Which events pass a socket. The rule exists as a classic BPF program for the kernel (declared in
 * internals.cdef), and as functions for events that were already received. Pure: no system calls.
 *
 * A BPF program works on every kernel and without privilege. Linux 6.6 has event masks of its own,
 * but older kernels ignore such a request without an error. What a program rejects costs the reader
 * nothing and does not count as dropped.
 */
#ifndef PROCCONN_FILTER_H
#define PROCCONN_FILTER_H

#include "internals.h"
#include "wire/message.h"

/* Return which u32 field has the PID of an event's own task, for a FORK the child; its TGID
 * follows. */
static inline size_t filter_own_word(uint32_t what)
{
    return what == PROCCONN_FORK ? CHILD_PID_WORD : 0;
}

/* Return whether an event passes. */
bool procconn_filter_matches_event(const struct procconn_filter *filter,
                                   const struct procconn_event *event);

#endif
