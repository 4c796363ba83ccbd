/*
 * Trailers: what the library adds to an event after the kernel's message, which is the program of
 * an EXEC or the usage of an EXIT. Messages move from the staging buffer to the queue in order, so
 * one that waits for its program delays those after it.
 */
#ifndef PROCCONN_TRAILERS_H
#define PROCCONN_TRAILERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct procconn_stream;

struct trailers {
    struct procconn_programs *programs; /* NULL if EXECs get none */
    struct procconn_usage *usage;       /* NULL if EXITs get none */
    uint64_t lost_usage;                /* records lost before the close */
    bool met_exit;                      /* an EXIT came since records were last received */
    bool misses_exits;                  /* some may have been lost, or did not match the filter */
};

/* Whether messages are staged. */
static inline bool trailers_exist(const struct trailers *trailers)
{
    return trailers->programs != NULL || trailers->usage != NULL;
}

/* Note that an EXIT was received; note that some may be missing. */
static inline void trailers_note_exit(struct trailers *trailers)
{
    trailers->met_exit = true;
}

static inline void trailers_note_missing(struct trailers *trailers)
{
    trailers->misses_exits = true;
}

/* Return the number of usage records lost so far. */
uint64_t trailers_lost_usage(const struct trailers *trailers);

/* From here on, call functions under the lock. Start reading programs, and size the buffers:
 * drain_size is what one drain receives at most. Returns 0 or a negative errno. */
int stream_open_programs(struct procconn_stream *stream, size_t drain_size);

/* Register for usage records. Call it after LISTEN succeeded: without process events, it succeeds
 * and no record arrives. */
void stream_open_usage(struct procconn_stream *stream);

void stream_close_trailers(struct procconn_stream *stream);

/* Move complete messages from the staging buffer to the queue, with their trailers. Returns when
 * the first message left can be complete; 0 if none is left, or if the queue has no space.
 * has_emptied: whether the last drain emptied the socket. */
int64_t stream_attach_trailers(struct procconn_stream *stream, bool has_emptied);

#endif
