/* The stream's buffer: whole messages, filled at one end and taken from the other. */
#define _GNU_SOURCE /* MAP_ANONYMOUS, MADV_DONTNEED */
#include <errno.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "stream.h"

enum {
    PEAK_KEPT = 1 << 20,   /* bytes that keep their pages after a burst */
    SMALLEST_DRAIN = 4096, /* bytes, also into a smaller buffer of the caller's */
    WORTH_MOVING = 8,      /* part of a full queue that is free: moving what waits pays */
};

void *procconn_map(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return memory == MAP_FAILED ? NULL : memory;
}

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

bool procconn_has_room(struct procconn_stream *stream)
{
    size_t largest = procconn_inlet(stream) == &stream->queue ? PLACE_SIZE : LARGEST_MESSAGE;

    return stream->queue.capacity - stream->queue.end >= largest + LOST_SIZE;
}

static void tell_room(struct procconn_stream *stream)
{
    if (stream->wants_room && procconn_has_room(stream)) {
        stream->wants_room = false;
        eventfd_write(stream->room, 1);
    }
}

static void consume(struct procconn_stream *stream, size_t size)
{
    struct messages *queue = &stream->queue;

    queue->start += size;
    if (queue->start == queue->end)
        procconn_begin_anew(queue);
    tell_room(stream);
}

void procconn_take(struct procconn_stream *stream, size_t size, bool waiting)
{
    pthread_mutex_lock(&stream->lock);
    consume(stream, size);
    stream->window.size = 0;
    procconn_set_ready(stream, waiting || stream->queue.end > stream->queue.start);
    pthread_mutex_unlock(&stream->lock);
}

/* Moves what waits to the front once half of the buffer is behind it, or less where
 * the thread waits for room, and takes away what the consumer has seen through the
 * window. Nobody looks at it meanwhile. */
void procconn_tidy(struct procconn_stream *stream)
{
    struct messages *queue = &stream->queue;
    size_t worth;

    stream->window.size = 0;
    if (stream->window.taken == 0 && queue->start == 0) /* only the consumer moves it */
        return;
    pthread_mutex_lock(&stream->lock);
    consume(stream, stream->window.taken);
    stream->window.taken = 0;
    worth = queue->capacity / (stream->wants_room ? WORTH_MOVING : 2);
    if (queue->start >= worth && queue->start > 0) {
        memmove(queue->bytes, queue->bytes + queue->start, queue->end - queue->start);
        queue->end -= queue->start;
        queue->start = 0;
        tell_room(stream);
    }
    pthread_mutex_unlock(&stream->lock);
}

static void screen(struct messages *messages, const struct procconn_wanted *wanted)
{
    struct procconn_walk walk = {
        .buffer = messages->bytes, .size = messages->end, .offset = messages->start};
    struct procconn_event event;
    enum procconn_status status;
    size_t kept = messages->start, span;

    while ((status = procconn_next(&walk, &event)) != PROCCONN_END) {
        if (status == PROCCONN_EVENT && !procconn_is_wanted(wanted, &event))
            continue;
        span = walk.offset - walk.at;
        memmove(messages->bytes + kept, messages->bytes + walk.at, span);
        kept += span;
    }
    messages->end = kept;
}

void procconn_screen(struct procconn_stream *stream)
{
    consume(stream, stream->window.taken);
    stream->window.taken = stream->window.size = 0;
    screen(&stream->queue, &stream->settings.wanted);
    screen(&stream->stage, &stream->settings.wanted);
}

/* Waits for the thread. What it says was set before it made the counter readable. */
static int await_thread(struct procconn_stream *stream, int64_t deadline_ns)
{
    int status = 0;

    pthread_mutex_lock(&stream->lock);
    procconn_set_ready(stream, stream->queue.end > stream->queue.start);
    if (stream->silent) {
        stream->silent = false;
        status = -ENOTCONN;
    } else if (stream->failure != 0) {
        status = stream->failure;
    }
    pthread_mutex_unlock(&stream->lock);
    if (status == 0)
        status = procconn_sleep(stream->ready, stream->wake, deadline_ns);
    return status < 0 ? status : 0;
}

int procconn_listen(struct procconn_stream *stream, int64_t deadline_ns, size_t most)
{
    int64_t due_ns = -1;
    int status;

    if (stream->settings.heartbeat_ns > 0)
        due_ns = stream->heard_ns + stream->settings.heartbeat_ns;
    status = procconn_receive(stream, procconn_earlier(deadline_ns, due_ns), most);
    if (status == 0 && due_ns >= 0 && stream->heard_ns < due_ns && procconn_now_ns() >= due_ns)
        status = procconn_probe(stream);
    return status;
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

/* Puts as many whole messages as fit into the window. */
static int look(struct procconn_stream *stream, size_t most)
{
    const uint8_t *bytes = stream->queue.bytes + stream->queue.start;
    size_t left = waiting(stream), size = 0, span = 0;

    if (left <= most)
        size = left;
    for (; size < left; size += span) {
        span = procconn_span(procconn_load_u32(bytes + size + NLMSG_LEN_AT), left - size);
        if (size + span > most)
            break;
    }
    stream->window.bytes = bytes;
    stream->window.size = size;
    stream->window.needed = span;
    return size == 0 && left > 0 ? -EMSGSIZE : 0;
}

int procconn_bring(struct procconn_stream *stream, int64_t deadline_ns, size_t most)
{
    int status;

    procconn_tidy(stream);
    status = fill(stream, deadline_ns, most < SMALLEST_DRAIN ? SMALLEST_DRAIN : most);
    return status < 0 ? status : look(stream, most);
}

int procconn_wait(struct procconn_stream *stream, int64_t deadline_ns, size_t most, uint64_t holder)
{
    int status = procconn_enter(stream, READING);

    if (status < 0)
        return status;
    status = procconn_bring(stream, deadline_ns, most);
    if (stream->window.size > 0 || status == -EMSGSIZE)
        procconn_set_waiting(stream, 1);
    if (status == 0)
        stream->window.holder = holder;
    procconn_leave(stream);
    return status;
}
