/* What the threads of one round share, and what its consumer sees. */
#ifndef ROUND_H
#define ROUND_H

#include <stdio.h>
#include <stdlib.h>

#include "stream/stream.h"
#include "wire/decode.h"

enum {
    NAMES = 2000, /* that one round gives its producer */
    MOST = 65536, /* bytes of a batch: holds a program */
};

struct round {
    struct procconn_stream *stream;
    struct procconn_filter filter;
    unsigned number;
    _Atomic uint32_t producer; /* its thread id */
    _Atomic bool done;
    uint32_t seen; /* the next name that may come */
    uint64_t missing, lost, programs, usages;
};

enum feature { THREAD = 1, PROGRAMS = 2, USAGE = 4, HEARTBEAT = 8 };

static inline bool has(const struct round *round, enum feature feature)
{
    return (round->number & feature) != 0;
}

/* Ends its subscription now and then, so that some names are missing. */
static inline bool is_interrupting(const struct round *round)
{
    return round->number % 3 == 0;
}

static inline bool is_closed_early(const struct round *round)
{
    return round->number % 5 == 0;
}

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* Look at what waits, once, as a reader does that copies messages, or decodes them and has
 * the events taken later. 0 or a negative errno. */
int look_once(struct round *round, int64_t deadline_ns, bool decodes);

#endif
