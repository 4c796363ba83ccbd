/* The event socket: opened, filtered by the kernel, and probed. */
#define _GNU_SOURCE /* syscall */
#include <arpa/inet.h>
#include <errno.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "stream.h"

enum {
    NO_ENOBUFS = 5, /* linux/netlink.h */

    SMALLEST_CAPACITY = 262144,
};

int procconn_attach_filter(int fd, const struct procconn_filter *filter)
{
    return procconn_attach_instructions(fd, filter->program, filter->size);
}

/* Lets the COMM events of a task pass, before the filter decides. Words are loaded as
 * big-endian. */
static int attach_probing(int fd, const struct procconn_filter *filter, uint32_t task)
{
    struct instruction code[6 + sizeof filter->program / sizeof(struct instruction)] = {
        {LOAD_WORD, 0, 0, EVENT_WHAT_AT}, {JUMP_IF_EQUAL, 0, 3, htonl(PROCCONN_COMM)},
        {LOAD_WORD, 0, 0, EVENT_DATA_AT}, {JUMP_IF_EQUAL, 0, 1, htonl(task)},
        {RETURN, 0, 0, UINT32_MAX},
    };

    memcpy(code + 5, filter->program, filter->size);
    return procconn_attach_instructions(fd, code, 5 * sizeof code[0] + filter->size);
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
    uint32_t meminfo[MEMINFO_COUNT];
    int on = 1, status;

    status = procconn_open_netlink(&stream->socket);
    if (status == 0)
        status = enlarge(stream);
    if (status < 0)
        return status;
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

int procconn_rename_thread(void)
{
    char name[COMM_NAME_SIZE];

    if (prctl(PR_GET_NAME, name) != 0 || prctl(PR_SET_NAME, name) != 0)
        return -errno;
    return 0;
}

/* Under the lock. */
static int probe(struct procconn_stream *stream)
{
    const struct procconn_filter *filter = &stream->settings.wanted.filter;
    int64_t heard_ns = stream->heard_ns;
    int renamed, status;

    if (!stream->subscribed || (atomic_load(&stream->state) & CHANGING) != 0) {
        stream->heard_ns = procconn_now_ns();
        return 0;
    }
    status = attach_probing(stream->socket, filter, (uint32_t)syscall(SYS_gettid));
    if (status < 0)
        return status;
    renamed = procconn_rename_thread(); /* its event is queued when this returns */
    status = procconn_attach_filter(stream->socket, filter);
    stream->screening = true;
    if (status == 0)
        status = procconn_drain(stream, SIZE_MAX);
    if (status < 0 || stream->heard_ns != heard_ns)
        return status;
    stream->heard_ns = procconn_now_ns(); /* to be probed again after that long */
    /* A sandbox may refuse it; a full stage has no room for it. */
    return renamed < 0 || stream->emptied_ns == 0 ? 0 : -ENOTCONN;
}

int procconn_probe(struct procconn_stream *stream)
{
    int status;

    pthread_mutex_lock(&stream->lock);
    status = probe(stream);
    pthread_mutex_unlock(&stream->lock);
    return status;
}

int procconn_change(struct procconn_stream *stream, const struct procconn_wanted *wanted,
                    uint64_t holder)
{
    int status = procconn_enter(stream, CHANGING);

    if (status < 0)
        return status;
    pthread_mutex_lock(&stream->lock);
    status = procconn_attach_filter(stream->socket, &wanted->filter);
    if (status == 0) {
        stream->settings.wanted = *wanted;
        stream->misses_exits = true;
        procconn_screen(stream);
        stream->screening = true;
        if (!stream->has_thread) /* or else a poller would see what is not wanted */
            procconn_drain(stream, SIZE_MAX);
        stream->window.holder = holder;
    }
    pthread_mutex_unlock(&stream->lock);
    procconn_leave(stream);
    return status;
}

void procconn_note_unknown(struct procconn_stream *stream)
{
    if (!stream->gap.open)
        stream->gap.since_ns = procconn_now_ns();
    stream->gap.open = true;
    procconn_drain(stream, SIZE_MAX);
}
