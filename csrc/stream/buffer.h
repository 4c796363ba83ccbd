/* Complete messages in one block of memory: appended at the end, consumed from the start. */
#ifndef PROCCONN_BUFFER_H
#define PROCCONN_BUFFER_H

#include <stddef.h>
#include <stdint.h>

#include "procconn.h"

struct buffer {
    uint8_t *bytes;
    size_t capacity, start, end; /* the messages lie from start to end */
    size_t peak;                 /* the highest end since pages were last released */
};

static inline size_t buffer_length(const struct buffer *buffer)
{
    return buffer->end - buffer->start;
}

/* The space after the messages: write there, then append what was written. */
static inline uint8_t *buffer_space(const struct buffer *buffer)
{
    return buffer->bytes + buffer->end;
}

static inline size_t buffer_space_size(const struct buffer *buffer)
{
    return buffer->capacity - buffer->end;
}

static inline void buffer_append(struct buffer *buffer, size_t size)
{
    buffer->end += size;
}

/* Change the capacity, which the messages must fit. Returns 0 or -ENOMEM. */
int buffer_resize(struct buffer *buffer, size_t capacity);
void buffer_free(struct buffer *buffer);

/* Consume the first `size` bytes, which are complete messages. An empty buffer restarts at its
 * front, and releases pages after a burst. */
void buffer_consume(struct buffer *buffer, size_t size);

/* Move the messages to the front. */
void buffer_compact(struct buffer *buffer);

/* Remove the events that do not match the filter; other messages stay. */
void buffer_refilter(struct buffer *buffer, const struct procconn_filter *filter);

#endif
