/* The life of a stream: opened, used by one consumer at a time, closed by anyone. */
#define _GNU_SOURCE /* MADV_WIPEONFORK */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "stream.h"

bool procconn_is_closed(struct procconn_stream *stream)
{
    return (atomic_load(&stream->state) & CLOSED) != 0;
}

static bool is_owner(const struct procconn_stream *stream)
{
    return stream->mark != NULL ? *stream->mark != 0 : getpid() == stream->owner;
}

static void close_descriptor(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void close_descriptors(struct procconn_stream *stream)
{
    procconn_close_attachments(stream);
    close_descriptor(&stream->socket);
    close_descriptor(&stream->requests);
    close_descriptor(&stream->wake);
    close_descriptor(&stream->ready);
    close_descriptor(&stream->room);
    for (size_t i = 0; i < POLLABLES; i++)
        close_descriptor(&stream->pollables[i]);
}

/* The last one counts what was dropped until now, and closes. */
void procconn_drop_user(struct procconn_stream *stream)
{
    if (atomic_fetch_sub(&stream->users, 1) != 1)
        return;
    pthread_mutex_lock(&stream->lock);
    procconn_ask_drops(stream);
    procconn_end_listening(stream);
    close_descriptors(stream);
    pthread_mutex_unlock(&stream->lock);
}

int procconn_enter(struct procconn_stream *stream, uint32_t activity)
{
    uint32_t state = IDLE;

    if (!is_owner(stream))
        return -ECHILD;
    atomic_fetch_add(&stream->users, 1); /* before the state, which a close looks at */
    if (atomic_compare_exchange_strong(&stream->state, &state, activity))
        return 0;
    procconn_drop_user(stream);
    return (state & CLOSED) != 0 ? -ECANCELED : -EBUSY;
}

void procconn_leave(struct procconn_stream *stream)
{
    atomic_fetch_and(&stream->state, (uint32_t)CLOSED);
    procconn_drop_user(stream);
}

/* Under the lock. */
void procconn_set_ready(struct procconn_stream *stream, bool ready)
{
    eventfd_t count;

    if (stream->ready < 0 || stream->is_ready == ready)
        return;
    stream->is_ready = ready;
    if (ready)
        eventfd_write(stream->ready, 1);
    else
        eventfd_read(stream->ready, &count);
}

/* A page that the kernel wipes in a forked child tells one without a system call. */
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

int procconn_open(struct procconn_stream **place, const struct procconn_settings *settings)
{
    struct procconn_stream *stream = calloc(1, sizeof *stream);
    int status;

    if (stream == NULL)
        return -ENOMEM;
    stream->settings = *settings;
    stream->owner = getpid();
    stream->mark = make_mark();
    stream->users = stream->references = 1;
    stream->socket = stream->requests = stream->wake = stream->ready = stream->room = -1;
    for (size_t i = 0; i < POLLABLES; i++)
        stream->pollables[i] = -1;
    pthread_mutex_init(&stream->lock, NULL);
    procconn_prepare(&stream->batch);
    *place = stream;
    status = procconn_open_socket(stream);
    if (status < 0)
        procconn_close(stream);
    return status;
}

/* The memory stays: somebody may be looking at it. */
void procconn_close(struct procconn_stream *stream)
{
    uint32_t before;

    if (!is_owner(stream)) {
        atomic_fetch_or(&stream->state, (uint32_t)CLOSED);
        stream->window.closed = 1;
        close_descriptors(stream);
        return;
    }
    pthread_mutex_lock(&stream->lock);
    before = atomic_fetch_or(&stream->state, (uint32_t)CLOSED);
    if ((before & CLOSED) == 0) {
        __atomic_store_n(&stream->window.closed, 1, __ATOMIC_RELEASE);
        if (stream->wake >= 0)
            eventfd_write(stream->wake, 1);
        if (before != CHANGING) /* else it is ended by who changes it */
            procconn_end_listening(stream);
    }
    pthread_mutex_unlock(&stream->lock);
    if ((before & CLOSED) == 0)
        procconn_drop_user(stream);
}

static void unmap(struct messages *messages)
{
    if (messages->bytes != NULL)
        munmap(messages->bytes, messages->capacity);
}

void procconn_drop_reference(struct procconn_stream *stream)
{
    if (atomic_fetch_sub(&stream->references, 1) != 1 && is_owner(stream))
        return; /* a forked child has not the thread */
    unmap(&stream->queue);
    unmap(&stream->stage);
    if (stream->mark != NULL)
        munmap((void *)(uintptr_t)stream->mark, (size_t)sysconf(_SC_PAGESIZE));
    free(stream);
}

void procconn_free(struct procconn_stream **place)
{
    if (*place == NULL)
        return;
    procconn_close(*place);
    procconn_release_pollable(*place);
    procconn_drop_reference(*place);
    *place = NULL;
}

struct procconn_window *procconn_window(struct procconn_stream *stream)
{
    return &stream->window;
}

uint64_t procconn_lost(struct procconn_stream *stream)
{
    uint64_t lost;

    if (!is_owner(stream))
        return stream->drops + stream->damaged;
    pthread_mutex_lock(&stream->lock);
    if (stream->socket >= 0)
        procconn_ask_drops(stream);
    lost = stream->drops + stream->damaged;
    pthread_mutex_unlock(&stream->lock);
    return lost;
}

static int watch(int pollable, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};

    return fd < 0 ? 0 : epoll_ctl(pollable, EPOLL_CTL_ADD, fd, &event);
}

/* Under the lock. */
static int make_pollable(struct procconn_stream *stream, int *pollable)
{
    if (stream->ready < 0)
        stream->ready = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (stream->ready < 0)
        return -errno;
    *pollable = epoll_create1(EPOLL_CLOEXEC);
    if (*pollable >= 0 && watch(*pollable, stream->wake) == 0 &&
        watch(*pollable, stream->ready) == 0 &&
        (stream->has_thread || watch(*pollable, stream->socket) == 0))
        return 0;
    close_descriptor(pollable);
    return -errno;
}

int procconn_pollable(struct procconn_stream *stream, size_t index, uint32_t waiting)
{
    int *pollable = &stream->pollables[index];
    int status = 0;

    if (!is_owner(stream))
        return *pollable >= 0 ? *pollable : -ECHILD;
    pthread_mutex_lock(&stream->lock);
    if (procconn_is_closed(stream))
        status = -ECANCELED;
    else if (*pollable < 0)
        status = make_pollable(stream, pollable);
    if (status == 0) {
        procconn_set_ready(stream, stream->is_ready || waiting || stream->queue.end > stream->queue.start);
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
        atomic_fetch_sub(&stream->users, 1);
    status = procconn_pollable(stream, index, 0);
    if (status < 0)
        procconn_release_pollable(stream);
    return status;
}

void procconn_release_pollable(struct procconn_stream *stream)
{
    if (is_owner(stream) && atomic_exchange(&stream->held, false))
        procconn_drop_user(stream);
}

void procconn_set_waiting(struct procconn_stream *stream, uint32_t waiting)
{
    if (!is_owner(stream))
        return;
    pthread_mutex_lock(&stream->lock);
    procconn_set_ready(stream, waiting || stream->queue.end - stream->queue.start > stream->window.size ||
                                   stream->silent || stream->failure != 0);
    pthread_mutex_unlock(&stream->lock);
}
