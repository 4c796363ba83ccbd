/*
 * Drain the socket into the stream's buffer: refuse what is not the kernel's or cannot be
 * decoded, and write what was lost where it was lost. A short receive means that the socket is
 * empty.
 */
#include <errno.h>

#include "stream/stream.h"

/* One drain ends after so many datagrams from others than the kernel, so that a flood
 * of them cannot keep the caller from its deadline. */
enum { MAX_REFUSED = 1 << 12 };

/* What a datagram becomes at most: itself, behind what was lost before it. */
enum { LARGEST_PART = PLACE_SIZE + LOST_SIZE };

/* Whether every message of a datagram is an event, as the kernel sends them, and passes the
 * filter. Messages and trailers of the library itself are not accepted from a socket. */
static bool validate(struct procconn_stream *stream, const uint8_t *bytes, size_t size,
                  int64_t *stamp_ns)
{
    struct procconn_walk walk = {.buffer = bytes, .size = size};
    struct procconn_event event;
    enum procconn_status status;

    while ((status = procconn_next(&walk, &event)) == PROCCONN_EVENT) {
        if (event.tail != NULL) {
            loss_refuse(&stream->loss);
            return false;
        }
        *stamp_ns = (int64_t)event.timestamp_ns;
        stream->met_exit = stream->met_exit || event.what == PROCCONN_EXIT;
        if (stream->refilters && !procconn_filter_matches_event(&stream->settings.filter, &event))
            return false;
    }
    if (status < 0)
        loss_refuse(&stream->loss);
    return status == PROCCONN_END && walk.offset == size && size > 0;
}

/* Write what was lost before a message with this timestamp, if anything was: the library's own
 * message, drawn in wire.h. */
static void write_lost(struct procconn_stream *stream, struct messages *into, int64_t timestamp_ns)
{
    uint8_t *message = into->bytes + into->end;
    struct overrun overrun;

    if (!loss_take(&stream->loss, timestamp_ns, &overrun))
        return;
    procconn_write_headers(message, LOST_SIZE, CN_IDX_OWN, CN_VAL_LOST);
    memcpy(message + EVENT_TIMESTAMP_AT, &overrun.since_ns, sizeof overrun.since_ns);
    memcpy(message + LOST_COUNT_AT, &overrun.count, sizeof overrun.count);
    into->end += LOST_SIZE;
    stream->misses_exits = true;
}

/* Append a datagram to the buffer if the kernel sent it and it passes the filter. */
static bool append(struct procconn_stream *stream, const struct mmsghdr *header, size_t i,
                   struct messages *into)
{
    const uint8_t *place = stream->batch.places[i];
    size_t size = header->msg_len;
    int64_t stamp_ns = 0;

    if (!procconn_is_from_kernel(header->msg_hdr.msg_name, header->msg_hdr.msg_namelen))
        return false;
    if (size > PLACE_SIZE || size % NLMSG_ALIGNMENT != 0) {
        loss_refuse(&stream->loss);
        return false;
    }
    if (!validate(stream, place, size, &stamp_ns))
        return false;
    if (stream->loss.overrun_count > 0)
        write_lost(stream, into, stamp_ns);
    memcpy(into->bytes + into->end, place, size);
    into->end += size;
    return true;
}

void procconn_ask_drops(struct procconn_stream *stream)
{
    uint32_t meminfo[MEMINFO_COUNT];

    if (!stream->window.counts_drops)
        return;
    if (procconn_read_meminfo(stream->socket, meminfo))
        loss_set_drops(&stream->loss, meminfo[MEMINFO_DROPS]);
    else
        stream->failure = -errno; /* a sandbox refuses what was allowed before */
}

static void note_loss(struct procconn_stream *stream, bool is_uncounted, int64_t since_ns)
{
    if (loss_note(&stream->loss, is_uncounted, since_ns))
        stream->misses_exits = true;
}

/* While a full socket is read, the kernel takes some datagrams into the space that was made,
 * and drops others, in turn. What it has dropped lies after everything that was queued before
 * the last receive made space, but for what it dropped since then. Returns the time. */
static int64_t look_amid(struct procconn_stream *stream, int64_t before_ns)
{
    int64_t now_ns = procconn_now_ns();

    if (loss_ask_amid(&stream->loss, now_ns, stream->synced_until_ns, stream->pacing.min_fill_ns)) {
        procconn_ask_drops(stream);
        note_loss(stream, false, before_ns);
    }
    return now_ns;
}

void procconn_prepare(struct batch *batch)
{
    for (size_t i = 0; i < BATCH; i++) {
        batch->iovecs[i] = (struct iovec){batch->places[i], PLACE_SIZE};
        batch->headers[i].msg_hdr = (struct msghdr){
            .msg_name = &batch->senders[i],
            .msg_namelen = sizeof batch->senders[i], /* as it also is afterwards */
            .msg_iov = &batch->iovecs[i],
            .msg_iovlen = 1,
        };
    }
}

/* Whether another drain would receive anything. */
static bool has_space(size_t space)
{
    return space >= LARGEST_PART + LOST_SIZE;
}

/* Attach what is complete, and note for the pacing how the drain ended. */
static void end_drain(struct procconn_stream *stream, const struct messages *into, size_t queued,
                      struct pacing_drain drain)
{
    if (into == &stream->queue)
        drain.due_ns = 0;
    else if (pacing_delivers(&stream->pacing, drain.began_ns))
        drain.due_ns = procconn_finish(stream, drain.has_emptied);
    else
        drain.due_ns = stream->pacing.last.due_ns;
    drain.staged = stream->stage.end - stream->stage.start;
    drain.staging_size = stream->stage.capacity;
    drain.has_delivered = stream->queue.end > queued;
    drain.has_space = has_space(procconn_space(stream));
    pacing_note_drain(&stream->pacing, &drain);
    if (stream->has_thread && drain.has_delivered) /* whoever waits, waits for that */
        procconn_set_ready(stream, true);
}

/* Receive what is waiting, up to `most` bytes; `waits` for the first of it. Fails only if
 * nothing was received; a failure after that comes back with the next call. */
int procconn_drain(struct procconn_stream *stream, size_t most, bool waits)
{
    struct messages *into = procconn_inlet(stream);
    size_t left = procconn_space(stream), begin = into->end, room;
    size_t limit = begin + (most < left ? most : left), queued = stream->queue.end;
    int64_t began_ns = procconn_now_ns(), before_ns = began_ns;
    unsigned refused = 0;
    bool overflowed = false, has_received;
    int count, error = 0;

    while (error == 0 && refused < MAX_REFUSED && has_space(limit - into->end)) {
        room = (limit - into->end - LOST_SIZE) / LARGEST_PART;
        room = room < BATCH ? room : BATCH;
        count = recvmmsg(stream->socket, stream->batch.headers, (unsigned)room,
                         (waits ? MSG_WAITFORONE : MSG_DONTWAIT) | MSG_TRUNC, NULL);
        if (waits)
            began_ns = before_ns = procconn_now_ns();
        waits = false;
        for (int i = 0; i < count; i++)
            refused += !append(stream, &stream->batch.headers[i], (size_t)i, into);
        if (count >= 0) {
            stream->heard_ns = began_ns;
            loss_receive(&stream->loss, (uint64_t)count);
            error = (size_t)count < room ? -EAGAIN : 0;
            if (error == 0)
                before_ns = look_amid(stream, before_ns);
        } else if (errno == ENOBUFS) { /* from a kernel that does not count drops */
            overflowed = true;
            refused++;
        } else {
            error = -errno;
        }
    }
    if (error == -EAGAIN) {
        if (loss_ask_after(&stream->loss, began_ns, stream->window.receive_buffer))
            procconn_ask_drops(stream);
        stream->synced_until_ns = began_ns;
        stream->refilters = false;
    }
    note_loss(stream, overflowed, began_ns);
    if (error == -EAGAIN)
        write_lost(stream, into, INT64_MAX);
    has_received = into->end > begin;
    if (into->end > into->peak)
        into->peak = into->end;
    end_drain(stream, into, queued,
              (struct pacing_drain){.began_ns = began_ns, .has_emptied = error == -EAGAIN});
    if (has_received)
        return 0;
    return stream->failure != 0 || error == -EAGAIN ? stream->failure : error;
}
