/* The event socket: open it, size its receive buffer, attach the filter. */
#include <errno.h>
#include <sys/eventfd.h>
#include <sys/time.h>

#include "stream/stream.h"

enum {
    NO_ENOBUFS = 5, /* linux/netlink.h */

    SMALLEST_CAPACITY = 262144,

    DAY = 86400, /* seconds */
};

/* The kernel grants, and reports, twice what was asked for (socket(7)). */
static int enlarge(struct procconn_stream *stream)
{
    int size, status = procconn_enlarge(stream->socket, (int)stream->settings.receive_buffer);
    socklen_t length = sizeof size;

    if (status < 0)
        return status;
    if (getsockopt(stream->socket, SOL_SOCKET, SO_RCVBUF, &size, &length) != 0)
        return -errno;
    stream->window.receive_buffer = (uint32_t)size / 2;
    pacing_begin(&stream->pacing, stream->settings.gather_ns,
                 (int64_t)(stream->window.receive_buffer / EVENT_CHARGE) * EVENT_INTERVAL_NS);
    return 0;
}

/* Bytes of messages in a full socket, twice over: one drain can receive them all. An event has
 * 76 bytes, and the kernel charges 768 or more for it. */
static size_t full_size(const struct procconn_stream *stream)
{
    size_t size = stream->window.receive_buffer / 768U * 2 * MESSAGE_SIZE;

    return size > SMALLEST_CAPACITY ? size : SMALLEST_CAPACITY;
}

int procconn_open_socket(struct procconn_stream *stream)
{
    struct timeval timeout = {.tv_sec = DAY};
    uint32_t meminfo[MEMINFO_COUNT];
    int on = 1, status;

    status = procconn_open_netlink(&stream->socket);
    if (status == 0)
        status = enlarge(stream);
    if (status < 0)
        return status;
    /* A receive with a timeout returns EINTR after every signal handler, also with SA_RESTART
     * (signal(7)), so that Python's handlers can run. */
    if (setsockopt(stream->socket, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout) != 0)
        return -errno;
    /* Otherwise the kernel, once the buffer is full, drops all events until it is empty. */
    stream->window.counts_drops = procconn_read_meminfo(stream->socket, meminfo);
    if (stream->window.counts_drops &&
        setsockopt(stream->socket, SOL_NETLINK, NO_ENOBUFS, &on, sizeof on) != 0)
        return -errno;
    status = procconn_attach_filter(stream->socket, &stream->settings.filter);
    if (status == 0)
        status = procconn_join_group(stream->socket);
    if (status == 0)
        status = procconn_open_attachments(stream, full_size(stream));
    stream->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    stream->heard_ns = procconn_now_ns();
    return status == 0 && stream->wake < 0 ? -errno : status;
}
