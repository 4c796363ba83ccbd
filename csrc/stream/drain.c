/*
 * Drain the socket into the stream's buffer: reject datagrams that the kernel did not send or that
 * are malformed, and write a Lost where events were lost. A short receive means that the socket is
 * empty.
 */
#include "stream/drain.h"

#include <errno.h>

#include "stream/stream.h"
#include "wire/decode.h"
#include "wire/filter.h"

enum {
    /* One drain ends after this many datagrams that were not appended, such as those of senders
     * other than the kernel: a burst of them cannot delay the caller past its deadline. */
    MAX_REFUSED = 1 << 12,

    /* The most that one datagram adds: itself, and a Lost before it. */
    LARGEST_PART = SLOT_SIZE + LOST_SIZE,
};

void drain_init(struct drain *drain)
{
    batch_init(&drain->batch, drain->slots[0], BATCH_MOST, SLOT_SIZE, SLOT_DISTANCE);
}

void drain_refilter(struct drain *drain)
{
    drain->refilters = true;
}

static struct buffer *ingest_buffer(struct procconn_stream *stream)
{
    return trailers_exist(&stream->trailers) ? &stream->staging : &stream->queue;
}

bool stream_has_space(const struct procconn_stream *stream)
{
    size_t largest = trailers_exist(&stream->trailers) ? LARGEST_MESSAGE : SLOT_SIZE;

    return buffer_space_size(&stream->queue) >= largest + 2 * LOST_SIZE;
}

/* Return how many bytes may be received. With a thread, staged bytes count as the queue's. */
static size_t space(struct procconn_stream *stream)
{
    struct buffer *queue = &stream->queue, *staging = &stream->staging;
    size_t space, used;

    if (ingest_buffer(stream) == queue)
        return buffer_space_size(queue);
    if (staging->start > 0 && staging->start >= buffer_length(staging))
        buffer_compact(staging);
    space = buffer_space_size(staging);
    used = buffer_length(queue) + buffer_length(staging);
    if (stream->has_thread && space + used > queue->capacity)
        space = queue->capacity > used ? queue->capacity - used : 0;
    return space;
}

/* Whether every message of a datagram is an event, as the kernel sends them, and passes the
 * filter. Messages and trailers of the library itself are not accepted from a socket. */
static bool check_datagram(struct procconn_stream *stream, const uint8_t *bytes, size_t size,
                           int64_t *timestamp_ns)
{
    struct procconn_walk walk = {.buffer = bytes, .size = size};
    struct procconn_event event;
    enum procconn_status status;

    while ((status = procconn_next(&walk, &event)) == PROCCONN_EVENT) {
        if (event.trailer != NULL) {
            loss_refuse(&stream->loss);
            return false;
        }
        *timestamp_ns = (int64_t)event.timestamp_ns;
        if (event.what == PROCCONN_EXIT)
            trailers_note_exit(&stream->trailers);
        if (stream->drain.refilters &&
            !procconn_filter_matches_event(&stream->settings.filter, &event))
            return false;
    }
    if (status < 0)
        loss_refuse(&stream->loss);
    return status == PROCCONN_END && walk.offset == size && size > 0;
}

/* Write a Lost (wire.h) for what was lost before a message with this timestamp, if anything. */
static void write_lost(struct procconn_stream *stream, struct buffer *into, int64_t timestamp_ns)
{
    uint8_t *message = buffer_space(into);
    struct overrun overrun;

    if (!loss_take(&stream->loss, timestamp_ns, &overrun))
        return;
    procconn_write_headers(message, LOST_SIZE, CN_IDX_OWN, CN_VAL_LOST);
    memcpy(message + EVENT_TIMESTAMP_AT, &overrun.since_ns, sizeof overrun.since_ns);
    memcpy(message + LOST_COUNT_AT, &overrun.count, sizeof overrun.count);
    buffer_append(into, LOST_SIZE);
    trailers_note_missing(&stream->trailers);
}

/* Append a datagram to the buffer if the kernel sent it and it passes the filter. */
static bool append(struct procconn_stream *stream, size_t i, struct buffer *into)
{
    size_t size;
    const uint8_t *datagram = batch_datagram(&stream->drain.batch, i, &size);
    int64_t timestamp_ns = 0;

    if (datagram == NULL)
        return false;
    if (size > SLOT_SIZE || size % NLMSG_ALIGNMENT != 0) {
        loss_refuse(&stream->loss);
        return false;
    }
    if (!check_datagram(stream, datagram, size, &timestamp_ns))
        return false;
    if (stream->loss.overrun_count > 0)
        write_lost(stream, into, timestamp_ns);
    memcpy(buffer_space(into), datagram, size);
    buffer_append(into, size);
    return true;
}

void stream_read_drops(struct procconn_stream *stream)
{
    uint32_t meminfo[MEMINFO_COUNT];

    if (!stream->view.counts_drops)
        return;
    if (netlink_read_meminfo(stream->events.fd, meminfo))
        loss_set_drops(&stream->loss, meminfo[MEMINFO_DROPS]);
    else
        failure_note(&stream->failure, -errno); /* a sandbox refuses what was allowed before */
}

static void note_loss(struct procconn_stream *stream, bool is_uncounted, int64_t since_ns)
{
    if (loss_note(&stream->loss, is_uncounted, since_ns))
        trailers_note_missing(&stream->trailers);
}

/* While a full socket is drained, the kernel alternates between queueing datagrams in the space
 * that was freed and dropping others. What it has dropped lies after everything that was queued
 * before the last receive freed space, at before_ns. Returns the time, which is the next
 * before_ns. */
static int64_t check_drops_between(struct procconn_stream *stream, int64_t before_ns)
{
    int64_t now_ns = procconn_now_ns();

    if (loss_ask_amid(&stream->loss, now_ns, stream->drain.synced_until_ns,
                      stream->pacing.min_fill_ns)) {
        stream_read_drops(stream);
        note_loss(stream, false, before_ns);
    }
    return now_ns;
}

/* Whether another drain would receive anything. */
static bool is_enough(size_t space)
{
    return space >= LARGEST_PART + LOST_SIZE;
}

/* Attach trailers to complete messages, and note for the pacing how the drain ended. */
static void end_drain(struct procconn_stream *stream, size_t queued, struct pacing_drain drain)
{
    if (!trailers_exist(&stream->trailers))
        drain.due_ns = 0;
    else if (pacing_delivers(&stream->pacing, drain.began_ns))
        drain.due_ns = stream_attach_trailers(stream, drain.has_emptied);
    else
        drain.due_ns = stream->pacing.last.due_ns;
    drain.staged = buffer_length(&stream->staging);
    drain.staging_size = stream->staging.capacity;
    drain.has_delivered = stream->queue.end > queued;
    drain.has_space = is_enough(space(stream));
    pacing_note_drain(&stream->pacing, &drain);
    if (stream->has_thread && drain.has_delivered) /* the consumer may be waiting for it */
        stream_update_ready(stream, true);
}

/* Note that a receive that began at began_ns found the socket empty. */
static void note_empty(struct procconn_stream *stream, int64_t began_ns)
{
    if (loss_ask_after(&stream->loss, began_ns, stream->view.receive_buffer))
        stream_read_drops(stream);
    stream->drain.synced_until_ns = began_ns;
    stream->drain.refilters = false;
}

int stream_drain(struct procconn_stream *stream, size_t most, bool waits)
{
    struct buffer *into = ingest_buffer(stream);
    size_t left = space(stream), begin = into->end, slots;
    size_t limit = begin + (most < left ? most : left), queued = stream->queue.end;
    int64_t began_ns = procconn_now_ns(), before_ns = began_ns;
    unsigned refused = 0;
    bool overflowed = false, has_received;
    int count, error = 0;

    while (error == 0 && refused < MAX_REFUSED && is_enough(limit - into->end)) {
        slots = (limit - into->end - LOST_SIZE) / LARGEST_PART;
        slots = slots < BATCH_MOST ? slots : BATCH_MOST;
        count = batch_receive(&stream->drain.batch, stream->events.fd, slots, waits);
        if (waits)
            began_ns = before_ns = procconn_now_ns();
        waits = false;
        for (int i = 0; i < count; i++)
            refused += !append(stream, (size_t)i, into);
        if (count >= 0) {
            heartbeat_note_rx(&stream->heartbeat, began_ns);
            loss_receive(&stream->loss, (uint64_t)count);
            error = (size_t)count < slots ? -EAGAIN : 0;
            if (error == 0)
                before_ns = check_drops_between(stream, before_ns);
        } else if (count == -ENOBUFS) { /* from a kernel that does not count drops */
            overflowed = true;
            refused++;
        } else {
            error = count;
        }
    }
    if (error == -EAGAIN)
        note_empty(stream, began_ns);
    note_loss(stream, overflowed, began_ns);
    if (error == -EAGAIN)
        write_lost(stream, into, INT64_MAX);
    has_received = into->end > begin;
    end_drain(stream, queued,
              (struct pacing_drain){.began_ns = began_ns, .has_emptied = error == -EAGAIN});
    if (has_received)
        return 0;
    return stream->failure.status != 0 || error == -EAGAIN ? stream->failure.status : error;
}
