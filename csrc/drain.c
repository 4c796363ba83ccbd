/*
 * From the socket into the stream's buffer: drain, refuse what is not the kernel's or
 * cannot be decoded, and put what was lost where it was lost. A short receive says
 * that the socket is empty.
 */
#define _GNU_SOURCE /* recvmmsg */
#include <errno.h>

#include "stream.h"

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
            stream->damaged++;
            return false;
        }
        *stamp_ns = (int64_t)event.timestamp_ns;
        stream->met_exit = stream->met_exit || event.what == PROCCONN_EXIT;
        if (stream->refilters && !procconn_filter_matches_event(&stream->settings.filter, &event))
            return false;
    }
    stream->damaged += status < 0;
    return status == PROCCONN_END && walk.offset == size && size > 0;
}

/* The library's own message for a gap; drawn in wire.h. */
static void write_lost(uint8_t message[LOST_SIZE], const struct gap *gap)
{
    procconn_write_headers(message, LOST_SIZE, CN_IDX_OWN, CN_VAL_LOST);
    memcpy(message + EVENT_TIMESTAMP_AT, &gap->since_ns, sizeof gap->since_ns);
    memcpy(message + LOST_COUNT_AT, &gap->count, sizeof gap->count);
}

/* Tells the gaps before a time, between which there is nothing, as one. */
static void tell_gaps(struct procconn_stream *stream, struct messages *into, int64_t before_ns)
{
    struct gap gap = stream->gaps[0];
    size_t told = 1;

    for (; told < stream->gap_count && stream->gaps[told].since_ns < before_ns; told++)
        gap.count += stream->gaps[told].count;
    write_lost(into->bytes + into->end, &gap);
    into->end += LOST_SIZE;
    stream->gap_count -= told;
    memmove(stream->gaps, stream->gaps + told, stream->gap_count * sizeof gap);
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
        stream->damaged++;
        return false;
    }
    if (!validate(stream, place, size, &stamp_ns))
        return false;
    if (stream->gap_count > 0 && stamp_ns > stream->gaps[0].since_ns)
        tell_gaps(stream, into, stamp_ns);
    memcpy(into->bytes + into->end, place, size);
    into->end += size;
    return true;
}

/* The kernel's count has 32 bits and begins at 0 with the socket. */
void procconn_ask_drops(struct procconn_stream *stream)
{
    uint32_t meminfo[MEMINFO_COUNT];

    if (!stream->window.counts_drops)
        return;
    if (procconn_read_meminfo(stream->socket, meminfo))
        stream->drops += (uint32_t)(meminfo[MEMINFO_DROPS] - (uint32_t)stream->drops);
    else
        stream->failure = -errno; /* a sandbox refuses what was allowed before */
}

/* If there are too many, the last ones become one. */
void procconn_note_gap(struct procconn_stream *stream, uint64_t count, int64_t since_ns)
{
    stream->misses_exits = true;
    if (stream->gap_count < MOST_GAPS)
        stream->gaps[stream->gap_count++] = (struct gap){0, since_ns};
    stream->gaps[stream->gap_count - 1].count += count;
}

static void note_loss(struct procconn_stream *stream, bool overflowed, int64_t since_ns)
{
    uint64_t count = stream->drops + stream->damaged - stream->told;

    stream->told += count;
    if (count > 0 || overflowed)
        procconn_note_gap(stream, count, since_ns);
}

/* Before the socket is empty it may be full, and while it is read the kernel takes some into
 * the room that was made, and drops others, in turn. What it has dropped lies behind all that
 * was queued before the last receive made room, but for what it dropped since then. Asks once
 * a millisecond at most. Returns the time. */
static int64_t look_between(struct procconn_stream *stream, int64_t before_ns)
{
    int64_t now_ns = procconn_now_ns();

    if (now_ns - stream->seen_ns >= stream->filling_ns &&
        now_ns - stream->asked_ns >= LOOK_DISTANCE_NS) {
        procconn_ask_drops(stream);
        stream->asked_ns = now_ns;
        note_loss(stream, false, before_ns);
    }
    return now_ns;
}

/* There can be no new drops if the queue is empty now and what was taken since it was last
 * could not have filled half of it. It is asked once a second all the same, as the kernel
 * may also fail to copy a message. */
static void look_behind(struct procconn_stream *stream, bool overflowed, int64_t began_ns)
{
    uint64_t half = stream->window.receive_buffer; /* of the account, which is doubled */

    if (stream->unchecked * EVENT_CHARGE >= half || began_ns - stream->asked_ns >= NS_PER_S) {
        procconn_ask_drops(stream);
        stream->asked_ns = began_ns;
    }
    note_loss(stream, overflowed, began_ns);
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

/* Takes what is waiting, up to `most` bytes; `waits` for the first of it. Fails only if
 * nothing was taken; a failure after that comes back with the next call. */
int procconn_drain(struct procconn_stream *stream, size_t most, bool waits)
{
    struct messages *into = procconn_inlet(stream);
    size_t left = procconn_space(stream), begin = into->end, room;
    size_t limit = begin + (most < left ? most : left), queued = stream->queue.end;
    int64_t began_ns = procconn_now_ns(), before_ns = began_ns;
    unsigned refused = 0;
    bool overflowed = false, has_brought;
    int count, error = 0;

    stream->emptied_ns = 0;
    while (error == 0 && refused < MAX_REFUSED && into->end + LARGEST_PART + LOST_SIZE <= limit) {
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
            stream->unchecked += (uint64_t)count;
            error = (size_t)count < room ? -EAGAIN : 0;
            if (error == 0)
                before_ns = look_between(stream, before_ns);
        } else if (errno == ENOBUFS) { /* from a kernel that does not count drops */
            overflowed = true;
            refused++;
        } else {
            error = -errno;
        }
    }
    if (error == -EAGAIN) {
        look_behind(stream, overflowed, began_ns);
        if (stream->gap_count > 0)
            tell_gaps(stream, into, INT64_MAX);
        stream->emptied_ns = stream->seen_ns = began_ns;
        stream->unchecked = 0;
        stream->refilters = false;
    } else {
        note_loss(stream, overflowed, began_ns);
    }
    has_brought = into->end > begin;
    if (has_brought)
        stream->woken_ns = began_ns;
    if (into->end > into->peak)
        into->peak = into->end;
    if (into != &stream->queue)
        procconn_finish(stream);
    if (stream->has_thread && stream->queue.end > queued) /* who waits, waits for that */
        procconn_set_ready(stream, true);
    if (has_brought)
        return 0;
    return stream->failure != 0 || error == -EAGAIN ? stream->failure : error;
}
