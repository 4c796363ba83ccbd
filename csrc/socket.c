/* The event socket: opened, and filtered by the kernel. */
#define _GNU_SOURCE /* struct mmsghdr */
#include <errno.h>
#include <sys/eventfd.h>
#include <sys/time.h>

#include "stream.h"

enum {
    NO_ENOBUFS = 5, /* linux/netlink.h */

    SMALLEST_CAPACITY = 262144,

    DAY = 86400, /* seconds */
};

int procconn_attach_filter(int fd, const struct procconn_filter *filter)
{
    return procconn_attach_instructions(fd, filter->program, filter->size);
}

/* The kernel keeps, and tells, twice what was asked for (socket(7)). */
static int enlarge(struct procconn_stream *stream)
{
    int size, status = procconn_enlarge(stream->socket, (int)stream->settings.receive_buffer);
    socklen_t length = sizeof size;

    if (status < 0)
        return status;
    if (getsockopt(stream->socket, SOL_SOCKET, SO_RCVBUF, &size, &length) != 0)
        return -errno;
    stream->window.receive_buffer = (uint32_t)size / 2;
    stream->filling_ns =
        (int64_t)(stream->window.receive_buffer / EVENT_CHARGE) * EVENT_INTERVAL_NS;
    return 0;
}

/* On the wire an event has 76 bytes, in the account 768 or more: a drain can bring all. */
static size_t whole_queue(const struct procconn_stream *stream)
{
    size_t size = stream->window.receive_buffer / 768U * 2 * MESSAGE_SIZE;

    return size > SMALLEST_CAPACITY ? size : SMALLEST_CAPACITY;
}

int procconn_open_socket(struct procconn_stream *stream)
{
    struct timeval patience = {.tv_sec = DAY};
    uint32_t meminfo[MEMINFO_COUNT];
    int on = 1, status;

    status = procconn_open_netlink(&stream->socket);
    if (status == 0)
        status = enlarge(stream);
    if (status < 0)
        return status;
    /* A receive that may not wait for ever is interrupted by every signal, also by one whose
     * handler is to restart calls (signal(7)): handlers of Python run behind it. */
    if (setsockopt(stream->socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) != 0)
        return -errno;
    /* Lest the kernel drops all from the first that finds no room to the last. */
    stream->window.counts_drops = procconn_read_meminfo(stream->socket, meminfo);
    if (stream->window.counts_drops &&
        setsockopt(stream->socket, SOL_NETLINK, NO_ENOBUFS, &on, sizeof on) != 0)
        return -errno;
    status = procconn_attach_filter(stream->socket, &stream->settings.wanted.filter);
    if (status == 0)
        status = procconn_join_group(stream->socket);
    if (status == 0)
        status = procconn_open_attachments(stream, whole_queue(stream));
    stream->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    stream->heard_ns = procconn_now_ns();
    return status == 0 && stream->wake < 0 ? -errno : status;
}
