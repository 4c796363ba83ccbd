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

/* Whether an event passes. */
bool procconn_filter_matches_event(const struct procconn_filter *filter,
                                   const struct procconn_event *event);

#endif
