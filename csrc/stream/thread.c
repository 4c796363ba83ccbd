/* A thread that receives, whatever the program is doing meanwhile, and never takes the
 * GIL. While its queue is full it leaves the rest to the kernel, which counts. */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

#include "stream/stream.h"

enum {
    CHUNK = 65536, /* bytes of one drain, while which the consumer may wait */
    NICE = -20,    /* lest the consumer takes the processor from it */
};

/* Under the lock. */
static void note(struct procconn_stream *stream, int status)
{
    if (status == -ENOTCONN)
        stream->stale = true;
    else
        stream->failure = status;
    procconn_set_ready(stream, true);
}

/* Waits while the queue is full. The C library's own signals interrupt this thread too,
 * as when another one calls setuid(2). */
static int await_room(struct procconn_stream *stream)
{
    eventfd_t count;
    bool full;
    int status;

    pthread_mutex_lock(&stream->lock);
    full = !procconn_has_room(stream);
    stream->wants_room = full;
    pthread_mutex_unlock(&stream->lock);
    if (!full)
        return 0;
    status = procconn_sleep(stream->room, stream->wake, -1);
    if (status > 0 && eventfd_read(stream->room, &count) != 0)
        status = -errno;
    return status < 0 ? status : 0;
}

static void *run(void *argument)
{
    struct procconn_stream *stream = argument;
    int status;

    setpriority(PRIO_PROCESS, 0, NICE); /* of this thread alone; ordinary users may not */
    while (!procconn_is_closed(stream)) {
        status = await_room(stream);
        if (status == 0)
            status = procconn_listen(stream, -1, CHUNK);
        if (status == -ECANCELED)
            break;
        pthread_mutex_lock(&stream->lock);
        if (status < 0 && status != -EINTR)
            note(stream, status);
        pthread_mutex_unlock(&stream->lock);
        if (status < 0 && status != -EINTR && status != -ENOTCONN)
            break;
    }
    procconn_drop_user(stream);
    procconn_drop_reference(stream, REFERENCE_OF_THREAD);
    return NULL;
}

/* Under the lock. */
static int start(struct procconn_stream *stream, size_t queue)
{
    int status = 0;

    if (stream->room < 0)
        stream->room = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (stream->ready < 0)
        stream->ready = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (stream->room < 0 || stream->ready < 0)
        status = -errno;
    if (status == 0)
        status = procconn_resize(&stream->queue,
                                 queue + LARGEST_MESSAGE + stream->queue.end - stream->queue.start);
    if (status < 0)
        return status;
    atomic_fetch_add(&stream->users, 1);
    atomic_fetch_add(&stream->references, REFERENCE_OF_THREAD);
    status = procconn_start_detached(run, stream);
    if (status < 0) {
        atomic_fetch_sub(&stream->users, 1);
        atomic_fetch_sub(&stream->references, REFERENCE_OF_THREAD);
        return status;
    }
    stream->has_thread = true;
    for (size_t i = 0; i < POLLABLES; i++)
        if (stream->pollables[i] >= 0)
            epoll_ctl(stream->pollables[i], EPOLL_CTL_DEL, stream->socket, NULL);
    return 0;
}

int procconn_start_thread(struct procconn_stream *stream, size_t queue)
{
    int status = procconn_enter(stream, CHANGING);

    if (status < 0)
        return status;
    procconn_tidy(stream);
    pthread_mutex_lock(&stream->lock);
    if (!stream->has_thread)
        status = start(stream, queue);
    pthread_mutex_unlock(&stream->lock);
    procconn_leave(stream);
    return status;
}
