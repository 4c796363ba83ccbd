/* The consumer: wait for complete messages, peek, consume. Also, for any caller: the losses. */
#include <errno.h>

#include "stream/stream.h"
#include "wire/decode.h"

enum {
    SMALLEST_DRAIN = 4096, /* bytes, even if the caller's buffer is smaller */
    WORTH_MOVING = 8,      /* compact a full queue once 1/8 of it is free at the front */
};

/* Wait for the receiving thread, which makes `ready` readable last. */
static int await_thread(struct procconn_stream *stream, int64_t deadline_ns)
{
    int status;

    pthread_mutex_lock(&stream->lock);
    stream_update_ready(stream, false);
    status = failure_return(&stream->failure);
    pthread_mutex_unlock(&stream->lock);
    if (status == 0)
        status = procconn_sleep(stream->readiness.ready, stream->readiness.wake, deadline_ns);
    return status < 0 ? status : 0;
}

static size_t queued(struct procconn_stream *stream)
{
    size_t size;

    if (!stream->has_thread) /* then only the consumer fills it */
        return buffer_length(&stream->queue);
    pthread_mutex_lock(&stream->lock);
    size = buffer_length(&stream->queue);
    pthread_mutex_unlock(&stream->lock);
    return size;
}

/* Receive available messages; wait if there are none. */
static int await_messages(struct procconn_stream *stream, int64_t deadline_ns, size_t most)
{
    int status = 0;

    while (queued(stream) == 0) {
        if (lifecycle_is_closed(&stream->life))
            return -ECANCELED;
        if (!stream->has_thread)
            status = stream_listen(stream, deadline_ns, most);
        else if (deadline_ns != 0) /* else receive here what the thread lets coalesce */
            status = await_thread(stream, deadline_ns);
        else if ((status = stream_receive(stream, 0, most)) == 0 && queued(stream) == 0)
            status = await_thread(stream, 0);
        if (status < 0 || (deadline_ns >= 0 && procconn_now_ns() >= deadline_ns))
            break;
    }
    return queued(stream) > 0 ? 0 : status;
}

/* Let the walk cover as many complete messages as fit. */
static int peek(const struct procconn_stream *stream, size_t left, size_t most,
                struct procconn_walk *walk, size_t *needed)
{
    const uint8_t *bytes = stream->queue.bytes + stream->queue.start;
    size_t size = 0, span = 0;

    if (left <= most)
        size = left;
    for (; size < left; size += span) {
        span = procconn_span(procconn_load_u32(bytes + size + NLMSG_LEN_AT), left - size);
        if (size + span > most)
            break;
    }
    *walk = (struct procconn_walk){.buffer = bytes, .size = size};
    *needed = span;
    return size == 0 && left > 0 ? -EMSGSIZE : 0;
}

void stream_note_space(struct procconn_stream *stream)
{
    if (stream->readiness.wants_space && stream_has_space(stream))
        readiness_note_space(&stream->readiness);
}

void stream_compact(struct procconn_stream *stream)
{
    struct buffer *queue = &stream->queue;
    size_t worth;

    if (queue->start == 0) /* only the consumer moves it */
        return;
    pthread_mutex_lock(&stream->lock);
    worth = queue->capacity / (stream->readiness.wants_space ? WORTH_MOVING : 2);
    if (queue->start >= worth && queue->start > 0) {
        buffer_compact(queue);
        stream_note_space(stream);
    }
    pthread_mutex_unlock(&stream->lock);
}

int stream_fill(struct procconn_stream *stream, int64_t deadline_ns, size_t most,
                struct procconn_walk *walk)
{
    int status;

    stream_compact(stream);
    status = await_messages(stream, deadline_ns, most < SMALLEST_DRAIN ? SMALLEST_DRAIN : most);
    return status < 0 ? status : peek(stream, queued(stream), most, walk, &stream->view.needed);
}

void stream_consume(struct procconn_stream *stream, size_t size)
{
    pthread_mutex_lock(&stream->lock);
    buffer_consume(&stream->queue, size);
    stream_note_space(stream);
    stream_update_ready(stream, true);
    pthread_mutex_unlock(&stream->lock);
}

void stream_note_pending(struct procconn_stream *stream)
{
    if (!lifecycle_is_owner(&stream->life))
        return;
    pthread_mutex_lock(&stream->lock);
    stream_update_ready(stream, true);
    pthread_mutex_unlock(&stream->lock);
}

struct procconn_view *procconn_view(struct procconn_stream *stream)
{
    return &stream->view;
}

struct procconn_losses procconn_lost(struct procconn_stream *stream)
{
    bool is_owner = lifecycle_is_owner(&stream->life);
    struct procconn_losses losses;

    if (is_owner)
        pthread_mutex_lock(&stream->lock);
    if (is_owner && stream->events.fd >= 0)
        stream_read_drops(stream);
    losses = (struct procconn_losses){
        .events = loss_total(&stream->loss),
        .usages = is_owner ? trailers_lost_usage(&stream->trailers) : stream->trailers.lost_usage,
    };
    if (is_owner)
        pthread_mutex_unlock(&stream->lock);
    return losses;
}
