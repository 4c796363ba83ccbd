/* The queue of a stream: whole messages, filled at one end and taken from the other. */
#include <errno.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "stream/stream.h"

enum {
    PEAK_KEPT = 1 << 20, /* bytes that keep their pages after a burst */
    WORTH_MOVING = 8,    /* part of a full queue that is free: moving what waits pays */
};

/* Gives the buffer another size; what is in it must fit. */
int procconn_resize(struct messages *messages, size_t capacity)
{
    uint8_t *bytes = procconn_map(capacity);

    if (bytes == NULL)
        return -ENOMEM;
    if (messages->bytes != NULL) {
        memcpy(bytes, messages->bytes + messages->start, messages->end - messages->start);
        munmap(messages->bytes, messages->capacity);
    }
    messages->end -= messages->start;
    messages->start = 0;
    messages->bytes = bytes;
    messages->capacity = capacity;
    return 0;
}

/* Gives pages back after a burst. */
void procconn_begin_anew(struct messages *messages)
{
    messages->start = messages->end = 0;
    if (messages->peak > PEAK_KEPT)
        madvise(messages->bytes + PEAK_KEPT, messages->peak - PEAK_KEPT, MADV_DONTNEED);
    messages->peak = 0;
}

struct messages *procconn_inlet(struct procconn_stream *stream)
{
    return stream->programs != NULL || stream->usage != NULL ? &stream->stage : &stream->queue;
}

static void move_to_front(struct messages *messages)
{
    memmove(messages->bytes, messages->bytes + messages->start, messages->end - messages->start);
    messages->end -= messages->start;
    messages->start = 0;
}

/* How many bytes may be received. What the thread has staged counts as the queue's. */
size_t procconn_space(struct procconn_stream *stream)
{
    struct messages *queue = &stream->queue, *stage = &stream->stage;
    size_t space, held;

    if (procconn_inlet(stream) == queue)
        return queue->capacity - queue->end;
    if (stage->start > 0 && stage->start >= stage->end - stage->start)
        move_to_front(stage);
    space = stage->capacity - stage->end;
    held = queue->end - queue->start + stage->end - stage->start;
    if (stream->has_thread && space + held > queue->capacity)
        space = queue->capacity > held ? queue->capacity - held : 0;
    return space;
}

/* For one more message, what was lost before it, and what was lost behind it. */
bool procconn_has_room(struct procconn_stream *stream)
{
    size_t largest = procconn_inlet(stream) == &stream->queue ? PLACE_SIZE : LARGEST_MESSAGE;

    return stream->queue.capacity - stream->queue.end >= largest + 2 * LOST_SIZE;
}

static void tell_room(struct procconn_stream *stream)
{
    if (stream->wants_room && procconn_has_room(stream)) {
        stream->wants_room = false;
        eventfd_write(stream->room, 1);
    }
}

void procconn_set_ready(struct procconn_stream *stream, bool ready)
{
    eventfd_t count;

    if (stream->ready < 0 || stream->is_ready == ready)
        return;
    stream->is_ready = ready;
    if (ready ? eventfd_write(stream->ready, 1) : eventfd_read(stream->ready, &count))
        stream->failure = -errno;
}

bool procconn_waits(const struct procconn_stream *stream)
{
    return stream->queue.end > stream->queue.start || atomic_load(&stream->has_pending) ||
           stream->stale || stream->failure != 0;
}

void procconn_consume(struct procconn_stream *stream, size_t size)
{
    struct messages *queue = &stream->queue;

    queue->start += size;
    if (queue->start == queue->end)
        procconn_begin_anew(queue);
    tell_room(stream);
}

/* Move queued messages to the front once they start in the second half, or earlier if the
 * thread waits for space. Nobody looks at it meanwhile. */
void procconn_tidy(struct procconn_stream *stream)
{
    struct messages *queue = &stream->queue;
    size_t worth;

    if (queue->start == 0) /* only the consumer moves it */
        return;
    pthread_mutex_lock(&stream->lock);
    worth = queue->capacity / (stream->wants_room ? WORTH_MOVING : 2);
    if (queue->start >= worth && queue->start > 0) {
        move_to_front(queue);
        tell_room(stream);
    }
    pthread_mutex_unlock(&stream->lock);
}
