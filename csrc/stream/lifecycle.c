/*
 * The life of a stream: opened, used by one consumer at a time, closed by anyone.
 *
 *   state              enter       leave    close
 *   IDLE               READING or  -        CLOSED: IGNORE is sent
 *                      CHANGING
 *   READING            -EBUSY      IDLE     READING|CLOSED: IGNORE is sent, the consumer wakes
 *   CHANGING           -EBUSY      IDLE     CHANGING|CLOSED: the change is interrupted
 *   CLOSED             -ECANCELED  -        stays
 *   READING|CLOSED     -ECANCELED  CLOSED   stays
 *   CHANGING|CLOSED    -ECANCELED  CLOSED   stays
 *
 * The descriptors have users: the stream until its close, the consumer from enter to leave, the
 * receiving thread, and a waiter on a pollable. The last user reads the count of drops, sends
 * IGNORE if that was not done yet, and closes them; but if fileno() has a pollable, `wake` and the
 * pollables are closed with the memory. While CHANGING, the consumer may be using the subscription
 * without the lock, so it sends IGNORE itself, as the last user. Python objects and the thread hold
 * references to the memory; the last one frees it.
 *
 * After a close, the reader still delivers pending events; messages in the buffers are dropped.
 *
 * A forked child has copies. It may close its descriptors, which does not affect the parent, and
 * free its copy of the memory. It never takes the lock, which a thread of the parent may hold.
 */
#include "stream/lifecycle.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "stream/stream.h"

enum {
    SMALLEST_CAPACITY = 262144, /* bytes */

    /* The shortest interval observed between events. With EVENT_CHARGE, it gives the shortest time
     * in which a socket gets half full. */
    EVENT_INTERVAL_NS = 500,
};

void lifecycle_add_thread(struct lifecycle *life)
{
    atomic_fetch_add(&life->users, 1);
    atomic_fetch_add(&life->references, REFERENCE_OF_THREAD);
}

void lifecycle_remove_thread(struct lifecycle *life)
{
    atomic_fetch_sub(&life->users, 1);
    atomic_fetch_sub(&life->references, REFERENCE_OF_THREAD);
}

void lifecycle_add_reference(struct lifecycle *life)
{
    atomic_fetch_add(&life->references, REFERENCE);
}

static void close_descriptors(struct procconn_stream *stream)
{
    stream_close_trailers(stream);
    event_socket_close(&stream->events);
    subscription_close(&stream->subscription);
    readiness_close(&stream->readiness);
}

void stream_drop_user(struct procconn_stream *stream)
{
    if (atomic_fetch_sub(&stream->life.users, 1) != 1)
        return;
    pthread_mutex_lock(&stream->lock);
    stream_read_drops(stream);
    subscription_end(&stream->subscription);
    close_descriptors(stream);
    pthread_mutex_unlock(&stream->lock);
}

int stream_enter(struct procconn_stream *stream, uint32_t activity)
{
    struct lifecycle *life = &stream->life;
    uint32_t state = IDLE;

    if (!lifecycle_is_owner(life))
        return -ECHILD;
    atomic_fetch_add(&life->users, 1); /* first, so that a close in between is not the last user */
    if (atomic_compare_exchange_strong(&life->state, &state, activity))
        return 0;
    stream_drop_user(stream);
    return (state & CLOSED) != 0 ? -ECANCELED : -EBUSY;
}

void stream_leave(struct procconn_stream *stream)
{
    atomic_fetch_and(&stream->life.state, (uint32_t)CLOSED);
    stream_drop_user(stream);
}

/* Map a page that the kernel wipes in a forked child, which detects one without a system call. */
static uint32_t *make_mark(void)
{
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    uint32_t *mark = procconn_map(size);

    if (mark != NULL && madvise(mark, size, MADV_WIPEONFORK) != 0) {
        munmap(mark, size); /* before Linux 4.14 */
        mark = NULL;
    }
    if (mark != NULL)
        *mark = 1;
    return mark;
}

/* Bytes of messages in a full socket: one drain can receive them all. The socket may hold twice
 * receive_buffer bytes. An event has 76 bytes, and the kernel charges at least 768 for it. */
static size_t drain_size(uint32_t receive_buffer)
{
    size_t size = receive_buffer / 768U * 2 * MESSAGE_SIZE;

    return size > SMALLEST_CAPACITY ? size : SMALLEST_CAPACITY;
}

static int open_all(struct procconn_stream *stream)
{
    uint32_t receive_buffer;
    int status = event_socket_open(&stream->events, (int)stream->settings.receive_buffer,
                                   &stream->settings.filter);

    if (status < 0)
        return status;
    receive_buffer = stream->events.receive_buffer;
    stream->view.receive_buffer = receive_buffer;
    stream->view.counts_drops = stream->events.counts_drops;
    pacing_begin(&stream->pacing, stream->settings.coalesce_ns,
                 (int64_t)(receive_buffer / EVENT_CHARGE) * EVENT_INTERVAL_NS);
    heartbeat_note_rx(&stream->heartbeat, procconn_now_ns());
    status = stream_open_programs(stream, drain_size(receive_buffer));
    return status == 0 ? readiness_open(&stream->readiness) : status;
}

int procconn_open(struct procconn_stream **out, const struct procconn_settings *settings)
{
    struct procconn_stream *stream = calloc(1, sizeof *stream);
    int status;

    if (stream == NULL)
        return -ENOMEM;
    stream->settings = *settings;
    stream->life = (struct lifecycle){
        .users = 1, .references = REFERENCE, .owner_mark = make_mark(), .owner = getpid()};
    event_socket_init(&stream->events);
    subscription_init(&stream->subscription);
    readiness_init(&stream->readiness);
    drain_init(&stream->drain);
    pthread_mutex_init(&stream->lock, NULL);
    *out = stream;
    status = open_all(stream);
    if (status < 0)
        procconn_close(stream);
    return status;
}

/* The memory stays: other threads may be using it. */
void procconn_close(struct procconn_stream *stream)
{
    uint32_t before;

    if (!lifecycle_is_owner(&stream->life)) {
        atomic_fetch_or(&stream->life.state, (uint32_t)CLOSED);
        stream->view.closed = 1;
        close_descriptors(stream);
        readiness_close_pollables(&stream->readiness);
        return;
    }
    pthread_mutex_lock(&stream->lock);
    before = atomic_fetch_or(&stream->life.state, (uint32_t)CLOSED);
    if ((before & CLOSED) == 0) {
        __atomic_store_n(&stream->view.closed, 1, __ATOMIC_RELEASE);
        readiness_wake(&stream->readiness);
        if (before != CHANGING)
            subscription_end(&stream->subscription);
    }
    pthread_mutex_unlock(&stream->lock);
    if ((before & CLOSED) == 0)
        stream_drop_user(stream);
}

void stream_drop_reference(struct procconn_stream *stream, int reference)
{
    struct lifecycle *life = &stream->life;
    bool is_owner = lifecycle_is_owner(life); /* read while it is sure to exist */
    int left = atomic_fetch_sub(&life->references, reference) - reference;

    if (!is_owner)
        left &= ~REFERENCE_OF_THREAD; /* which a forked child does not have */
    if (left != 0)
        return;
    readiness_close_pollables(&stream->readiness);
    buffer_free(&stream->queue);
    buffer_free(&stream->staging);
    if (life->owner_mark != NULL)
        munmap((void *)(uintptr_t)life->owner_mark, (size_t)sysconf(_SC_PAGESIZE));
    free(stream);
}

void procconn_free(struct procconn_stream **out)
{
    if (*out == NULL)
        return;
    procconn_close(*out);
    procconn_release_pollable(*out);
    stream_drop_reference(*out, REFERENCE);
    *out = NULL;
}

int procconn_pollable(struct procconn_stream *stream, size_t index)
{
    int status = -ECANCELED, made;

    if (!lifecycle_is_owner(&stream->life)) {
        made = stream->readiness.pollables[index];
        return made >= 0 ? made : -ECHILD;
    }
    pthread_mutex_lock(&stream->lock);
    if (!lifecycle_is_closed(&stream->life))
        status = readiness_pollable(&stream->readiness, index,
                                    stream->has_thread ? -1 : stream->events.fd);
    if (status >= 0)
        stream_update_ready(stream, true);
    pthread_mutex_unlock(&stream->lock);
    return status;
}

int procconn_hold_pollable(struct procconn_stream *stream, size_t index)
{
    int status;

    atomic_fetch_add(&stream->life.users, 1);
    if (atomic_exchange(&stream->life.is_held, true))
        stream_drop_user(stream); /* it was held already: count it once */
    status = procconn_pollable(stream, index);
    if (status < 0)
        procconn_release_pollable(stream);
    return status;
}

void procconn_release_pollable(struct procconn_stream *stream)
{
    if (lifecycle_is_owner(&stream->life) && atomic_exchange(&stream->life.is_held, false))
        stream_drop_user(stream);
}
