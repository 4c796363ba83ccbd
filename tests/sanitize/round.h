/* State of one round: shared by its threads, and counted by its consumer. */
#ifndef ROUND_H
#define ROUND_H

#include "check.h"
#include "stream/stream.h"
#include "wire/decode.h"

enum {
    NAMES = 2000, /* names that the producer of a round sets */
    BATCH_SIZE = 65536, /* bytes; at least one event with its program */
};

struct round {
    struct procconn_stream *stream;
    struct procconn_filter filter;
    unsigned number;
    _Atomic uint32_t producer; /* its thread id */
    _Atomic bool done;
    uint32_t next; /* lowest number that the next name can have */
    uint64_t missing, lost, programs, usages;
};

enum feature { THREAD = 1, PROGRAMS = 2, USAGE = 4, HEARTBEAT = 8 };

static inline bool has(const struct round *round, enum feature feature)
{
    return (round->number & feature) != 0;
}

/* Return whether the round ends its subscription at times, so that names are missing. */
static inline bool is_interrupting(const struct round *round)
{
    return round->number % 3 == 0;
}

static inline bool is_closed_early(const struct round *round)
{
    return round->number % 5 == 0;
}

/* Read and check one batch: like a reader that copies messages, or (`decodes`) like a
 * reader that keeps decoded events pending. Return 0 or a negative errno. */
int consume_batch(struct round *round, int64_t deadline_ns, bool decodes);

#endif
