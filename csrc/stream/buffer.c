#include "stream/buffer.h"

#include <errno.h>
#include <sys/mman.h>

#include "system/system.h"
#include "wire/decode.h"
#include "wire/filter.h"

enum { PEAK_KEPT = 1 << 20 }; /* bytes that keep their pages after a burst */

int buffer_resize(struct buffer *buffer, size_t capacity)
{
    uint8_t *bytes = procconn_map(capacity);
    size_t length = buffer_length(buffer);

    if (bytes == NULL)
        return -ENOMEM;
    if (buffer->bytes != NULL) {
        memcpy(bytes, buffer->bytes + buffer->start, length);
        munmap(buffer->bytes, buffer->capacity);
    }
    *buffer = (struct buffer){.bytes = bytes, .capacity = capacity, .end = length};
    return 0;
}

void buffer_free(struct buffer *buffer)
{
    munmap(buffer->bytes, buffer->capacity); /* does nothing if there are none */
}

/* Update the peak before the end is lowered. */
static void note_peak(struct buffer *buffer)
{
    if (buffer->end > buffer->peak)
        buffer->peak = buffer->end;
}

void buffer_consume(struct buffer *buffer, size_t size)
{
    buffer->start += size;
    if (buffer->start < buffer->end)
        return;
    note_peak(buffer);
    buffer->start = buffer->end = 0;
    if (buffer->peak > PEAK_KEPT)
        madvise(buffer->bytes + PEAK_KEPT, buffer->peak - PEAK_KEPT, MADV_DONTNEED);
    buffer->peak = 0;
}

void buffer_compact(struct buffer *buffer)
{
    size_t length = buffer_length(buffer);

    note_peak(buffer);
    memmove(buffer->bytes, buffer->bytes + buffer->start, length);
    buffer->start = 0;
    buffer->end = length;
}

void buffer_refilter(struct buffer *buffer, const struct procconn_filter *filter)
{
    struct procconn_walk walk = {
        .buffer = buffer->bytes, .size = buffer->end, .offset = buffer->start};
    struct procconn_event event;
    enum procconn_status status;
    size_t kept = buffer->start, span;

    while ((status = procconn_next(&walk, &event)) != PROCCONN_END) {
        if (status == PROCCONN_EVENT && !procconn_filter_matches_event(filter, &event))
            continue;
        span = walk.offset - walk.at;
        memmove(buffer->bytes + kept, buffer->bytes + walk.at, span);
        kept += span;
    }
    note_peak(buffer);
    buffer->end = kept;
    buffer_consume(buffer, 0); /* it may be empty now */
}
