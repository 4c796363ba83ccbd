/* What the consumer does: wait, look at complete messages, take them. */
#include <errno.h>

#include "stream/stream.h"

enum { SMALLEST_DRAIN = 4096 }; /* bytes, also into a smaller buffer of the caller's */

/* Waits for the thread. What it says was set before it made the counter readable. */
static int await_thread(struct procconn_stream *stream, int64_t deadline_ns)
{
    int status = 0;

    pthread_mutex_lock(&stream->lock);
    procconn_set_ready(stream, stream->queue.end > stream->queue.start);
    if (stream->stale) {
        stream->stale = false;
        status = -ENOTCONN;
    } else if (stream->failure != 0) {
        status = stream->failure;
    }
    pthread_mutex_unlock(&stream->lock);
    if (status == 0)
        status = procconn_sleep(stream->ready, stream->wake, deadline_ns);
    return status < 0 ? status : 0;
}

static size_t waiting(struct procconn_stream *stream)
{
    size_t size;

    if (!stream->has_thread) /* then the consumer alone fills it */
        return stream->queue.end - stream->queue.start;
    pthread_mutex_lock(&stream->lock);
    size = stream->queue.end - stream->queue.start;
    pthread_mutex_unlock(&stream->lock);
    return size;
}

/* Brings what is there; waits if there is nothing. */
static int fill(struct procconn_stream *stream, int64_t deadline_ns, size_t most)
{
    int status = 0;

    while (waiting(stream) == 0) {
        if (procconn_is_closed(stream))
            return -ECANCELED;
        if (!stream->has_thread)
            status = procconn_listen(stream, deadline_ns, most);
        else if (deadline_ns != 0) /* else what the thread lets gather is taken from it */
            status = await_thread(stream, deadline_ns);
        else if ((status = procconn_receive(stream, 0, most)) == 0 && waiting(stream) == 0)
            status = await_thread(stream, 0);
        if (status < 0 || (deadline_ns >= 0 && procconn_now_ns() >= deadline_ns))
            break;
    }
    return waiting(stream) > 0 ? 0 : status;
}

/* Let the walk cover as many complete messages as fit. */
static int look(const struct procconn_stream *stream, size_t left, size_t most,
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

int procconn_bring(struct procconn_stream *stream, int64_t deadline_ns, size_t most,
                   struct procconn_walk *walk)
{
    int status;

    procconn_tidy(stream);
    status = fill(stream, deadline_ns, most < SMALLEST_DRAIN ? SMALLEST_DRAIN : most);
    return status < 0 ? status : look(stream, waiting(stream), most, walk, &stream->window.needed);
}

void procconn_take(struct procconn_stream *stream, size_t size)
{
    pthread_mutex_lock(&stream->lock);
    procconn_consume(stream, size);
    procconn_set_ready(stream, procconn_waits(stream));
    pthread_mutex_unlock(&stream->lock);
}
