/* The receiving thread: it receives whatever the program is doing, and never needs the GIL. While
 * its queue is full, datagrams stay in the socket, and the kernel counts what it drops. */
#include <errno.h>
#include <sys/resource.h>

#include "stream/stream.h"

enum {
    CHUNK = 65536, /* bytes of one drain; the consumer may wait for the lock that long */
    NICE = -20,    /* so that the consumer cannot take its CPU */
};

/* Called under the lock. */
static void note(struct procconn_stream *stream, int status)
{
    failure_note(&stream->failure, status);
    stream_update_ready(stream, true);
}

/* Wait while the queue is full. The C library's own signals interrupt this thread too, for example
 * when another one calls setuid(2). */
static int await_space(struct procconn_stream *stream)
{
    struct readiness *readiness = &stream->readiness;
    bool full;
    int status;

    pthread_mutex_lock(&stream->lock);
    full = !stream_has_space(stream);
    readiness_want_space(readiness, full);
    pthread_mutex_unlock(&stream->lock);
    if (!full)
        return 0;
    status = procconn_sleep(readiness->space, readiness->wake, -1);
    if (status > 0)
        status = readiness_clear_space(readiness);
    return status < 0 ? status : 0;
}

static void *run(void *argument)
{
    struct procconn_stream *stream = argument;
    int status;

    setpriority(PRIO_PROCESS, 0, NICE); /* of this thread alone; ordinary users may not */
    while (!lifecycle_is_closed(&stream->life)) {
        status = await_space(stream);
        if (status == 0)
            status = stream_listen(stream, -1, CHUNK);
        if (status == -ECANCELED)
            break;
        pthread_mutex_lock(&stream->lock);
        if (status < 0 && status != -EINTR)
            note(stream, status);
        pthread_mutex_unlock(&stream->lock);
        if (status < 0 && status != -EINTR && status != -ENOTCONN)
            break;
    }
    stream_drop_user(stream);
    stream_drop_reference(stream, REFERENCE_OF_THREAD);
    return NULL;
}

/* Called under the lock. */
static int start(struct procconn_stream *stream, size_t queue)
{
    int status = readiness_open_thread(&stream->readiness);

    if (status == 0)
        status =
            buffer_resize(&stream->queue, queue + LARGEST_MESSAGE + buffer_length(&stream->queue));
    if (status < 0)
        return status;
    lifecycle_add_thread(&stream->life);
    status = procconn_start_detached(run, stream);
    if (status < 0) {
        lifecycle_remove_thread(&stream->life);
        return status;
    }
    stream->has_thread = true;
    readiness_unwatch(&stream->readiness, stream->events.fd);
    return 0;
}

int procconn_start_thread(struct procconn_stream *stream, size_t queue)
{
    int status = stream_enter(stream, CHANGING);

    if (status < 0)
        return status;
    stream_compact(stream);
    pthread_mutex_lock(&stream->lock);
    if (!stream->has_thread)
        status = start(stream, queue);
    pthread_mutex_unlock(&stream->lock);
    stream_leave(stream);
    return status;
}
