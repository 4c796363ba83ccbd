/* Descriptors for select, epoll and event loops: readable while there is something. */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "stream/stream.h"

static int watch(int pollable, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};

    return fd < 0 ? 0 : epoll_ctl(pollable, EPOLL_CTL_ADD, fd, &event);
}

/* Under the lock. */
static int make_pollable(struct procconn_stream *stream, int *pollable)
{
    int error;

    if (stream->ready < 0)
        stream->ready = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (stream->ready < 0)
        return -errno;
    *pollable = epoll_create1(EPOLL_CLOEXEC);
    if (*pollable >= 0 && watch(*pollable, stream->wake) == 0 &&
        watch(*pollable, stream->ready) == 0 &&
        (stream->has_thread || watch(*pollable, stream->socket) == 0))
        return 0;
    error = errno;
    if (*pollable >= 0)
        close(*pollable);
    *pollable = -1;
    return -error;
}

int procconn_pollable(struct procconn_stream *stream, size_t index)
{
    int *pollable = &stream->pollables[index];
    int status = 0;

    if (!procconn_is_owner(stream))
        return *pollable >= 0 ? *pollable : -ECHILD;
    pthread_mutex_lock(&stream->lock);
    if (procconn_is_closed(stream))
        status = -ECANCELED;
    else if (*pollable < 0)
        status = make_pollable(stream, pollable);
    if (status == 0) {
        if (index == FOR_FILENO)
            atomic_store(&stream->is_polled, true); /* before looking at what waits */
        procconn_set_ready(stream, procconn_waits(stream));
        status = *pollable;
    }
    pthread_mutex_unlock(&stream->lock);
    return status;
}

int procconn_hold_pollable(struct procconn_stream *stream, size_t index)
{
    int status;

    atomic_fetch_add(&stream->users, 1);
    if (atomic_exchange(&stream->held, true))
        procconn_drop_user(stream); /* another one may have let go meanwhile */
    status = procconn_pollable(stream, index);
    if (status < 0)
        procconn_release_pollable(stream);
    return status;
}

void procconn_update_ready(struct procconn_stream *stream)
{
    if (!procconn_is_owner(stream))
        return;
    pthread_mutex_lock(&stream->lock);
    procconn_set_ready(stream, procconn_waits(stream));
    pthread_mutex_unlock(&stream->lock);
}
