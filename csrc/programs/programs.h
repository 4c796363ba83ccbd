/* Read the programs of execs: the calls of the stream. state.h has the rest. */
#ifndef PROCCONN_PROGRAMS_H
#define PROCCONN_PROGRAMS_H

#include "internals.h"

/*
 * Take the trailer for an EXEC, the first message at `messages`. All that the stream has received
 * since follow it, including everything reported until drained_ns. Call it in stream order, from
 * one thread at a time. Returns 0 and the trailer, which is valid until the next call, or the time
 * (CLOCK_MONOTONIC) at which to call again.
 */
int64_t procconn_programs_take(struct procconn_programs *programs, const uint8_t *messages,
                               size_t size, int64_t drained_ns, const uint8_t **trailer,
                               size_t *trailer_size);

/* Receive changes of processes, for the validation of programs taken later. */
void procconn_programs_follow(struct procconn_programs *programs);

/* Return 0, or the negative errno of the refused system call that stopped the reading. */
int procconn_programs_error(const struct procconn_programs *programs);

#endif
