#include "stream/readiness.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "stream/stream.h"
#include "system/system.h"

void readiness_init(struct readiness *readiness)
{
    readiness->wake = readiness->ready = readiness->space = -1;
    for (size_t i = 0; i < POLLABLES; i++)
        readiness->pollables[i] = -1;
}

static int make_counter(int *fd)
{
    if (*fd < 0)
        *fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return *fd < 0 ? -errno : 0;
}

int readiness_open(struct readiness *readiness)
{
    return make_counter(&readiness->wake);
}

int readiness_open_thread(struct readiness *readiness)
{
    int status = make_counter(&readiness->space);

    return status == 0 ? make_counter(&readiness->ready) : status;
}

void readiness_unwatch(const struct readiness *readiness, int socket)
{
    for (size_t i = 0; i < POLLABLES; i++)
        if (readiness->pollables[i] >= 0)
            epoll_ctl(readiness->pollables[i], EPOLL_CTL_DEL, socket, NULL);
}

void readiness_wake(struct readiness *readiness)
{
    if (readiness->wake >= 0)
        eventfd_write(readiness->wake, 1);
}

static int watch(int pollable, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};

    return fd < 0 ? 0 : epoll_ctl(pollable, EPOLL_CTL_ADD, fd, &event);
}

static int make_pollable(struct readiness *readiness, int *pollable, int socket)
{
    int error = make_counter(&readiness->ready);

    if (error < 0)
        return error;
    *pollable = epoll_create1(EPOLL_CLOEXEC);
    if (*pollable >= 0 && watch(*pollable, readiness->wake) == 0 &&
        watch(*pollable, readiness->ready) == 0 && watch(*pollable, socket) == 0)
        return 0;
    error = errno;
    procconn_close_descriptor(pollable);
    return -error;
}

int readiness_pollable(struct readiness *readiness, size_t index, int socket)
{
    int *pollable = &readiness->pollables[index];
    int status = *pollable < 0 ? make_pollable(readiness, pollable, socket) : 0;

    if (status < 0)
        return status;
    if (index == FOR_FILENO)
        atomic_store(&readiness->is_polled, true);
    return *pollable;
}

int readiness_set(struct readiness *readiness, bool is_ready)
{
    eventfd_t count;

    if (readiness->ready < 0 || readiness->is_ready == is_ready)
        return 0;
    readiness->is_ready = is_ready;
    if (is_ready ? eventfd_write(readiness->ready, 1) : eventfd_read(readiness->ready, &count))
        return -errno;
    return 0;
}

void stream_update_ready(struct procconn_stream *stream, bool counts_pending)
{
    bool is_ready = buffer_length(&stream->queue) > 0 || failure_is_noted(&stream->failure) ||
                    (counts_pending && atomic_load(&stream->readiness.has_pending));
    int status = readiness_set(&stream->readiness, is_ready);

    if (status < 0)
        failure_note(&stream->failure, status);
}

void readiness_want_space(struct readiness *readiness, bool wants_space)
{
    readiness->wants_space = wants_space;
}

void readiness_note_space(struct readiness *readiness)
{
    readiness->wants_space = false;
    eventfd_write(readiness->space, 1);
}

int readiness_clear_space(struct readiness *readiness)
{
    eventfd_t count;

    return eventfd_read(readiness->space, &count) == 0 ? 0 : -errno;
}

void readiness_close(struct readiness *readiness)
{
    procconn_close_descriptor(&readiness->ready);
    procconn_close_descriptor(&readiness->space);
    if (readiness->pollables[FOR_FILENO] < 0)
        readiness_close_pollables(readiness);
}

void readiness_close_pollables(struct readiness *readiness)
{
    procconn_close_descriptor(&readiness->wake);
    for (size_t i = 0; i < POLLABLES; i++)
        procconn_close_descriptor(&readiness->pollables[i]);
}
