/* Reading the programs of execs: what the stream calls; state.h has the rest. */
#ifndef PROCCONN_PROGRAMS_H
#define PROCCONN_PROGRAMS_H

#include "internals.h"

/*
 * Take the trailer for an EXEC, which is the first message at `messages`; all that the stream
 * has received since follow it, among them those reported until drained_ns. In the order of the
 * stream, by one thread at a time. Returns 0 with the trailer, which is valid until the next
 * call, or the time, CLOCK_MONOTONIC, at which to ask again.
 */
int64_t procconn_programs_take(struct procconn_programs *programs, const uint8_t *messages,
                               size_t size, int64_t drained_ns, const uint8_t **trailer,
                               size_t *trailer_size);

/* Receive what changed about processes, for the validation of programs taken later. */
void procconn_programs_follow(struct procconn_programs *programs);

/* Return 0, or why no more programs are read: the negative errno of a refused system call. */
int procconn_programs_error(const struct procconn_programs *programs);

#endif
