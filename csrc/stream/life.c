/* The life of a stream: opened, used by one consumer at a time, closed by anyone. */
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "stream/stream.h"

static void close_pollables(struct procconn_stream *stream)
{
    procconn_close_descriptor(&stream->wake);
    for (size_t i = 0; i < POLLABLES; i++)
        procconn_close_descriptor(&stream->pollables[i]);
}

/* Who waits on the descriptor of fileno() is told by `wake` in it, but looks only after
 * it was written to: both stay until the memory goes. */
static void close_descriptors(struct procconn_stream *stream)
{
    procconn_close_attachments(stream);
    procconn_close_descriptor(&stream->socket);
    procconn_close_descriptor(&stream->requests);
    procconn_close_descriptor(&stream->ready);
    procconn_close_descriptor(&stream->room);
    if (stream->pollables[FOR_FILENO] < 0)
        close_pollables(stream);
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

    if (!procconn_is_owner(stream))
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
    stream->users = 1;
    stream->references = REFERENCE;
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

    if (!procconn_is_owner(stream)) {
        atomic_fetch_or(&stream->state, (uint32_t)CLOSED);
        stream->window.closed = 1;
        close_descriptors(stream);
        close_pollables(stream);
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

void procconn_drop_reference(struct procconn_stream *stream, int reference)
{
    bool is_owner = procconn_is_owner(stream); /* asked while it is sure to be there */
    int left = atomic_fetch_sub(&stream->references, reference) - reference;

    if (!is_owner)
        left &= ~REFERENCE_OF_THREAD; /* which a forked child does not have */
    if (left != 0)
        return;
    close_pollables(stream);
    munmap(stream->queue.bytes, stream->queue.capacity); /* if there is none, nothing happens */
    munmap(stream->stage.bytes, stream->stage.capacity);
    if (stream->mark != NULL)
        munmap((void *)(uintptr_t)stream->mark, (size_t)sysconf(_SC_PAGESIZE));
    free(stream);
}

void procconn_release_pollable(struct procconn_stream *stream)
{
    if (procconn_is_owner(stream) && atomic_exchange(&stream->held, false))
        procconn_drop_user(stream);
}

void procconn_free(struct procconn_stream **place)
{
    if (*place == NULL)
        return;
    procconn_close(*place);
    procconn_release_pollable(*place);
    procconn_drop_reference(*place, REFERENCE);
    *place = NULL;
}

struct procconn_window *procconn_window(struct procconn_stream *stream)
{
    return &stream->window;
}

uint64_t procconn_lost(struct procconn_stream *stream)
{
    uint64_t lost;

    if (!procconn_is_owner(stream))
        return loss_total(&stream->loss);
    pthread_mutex_lock(&stream->lock);
    if (stream->socket >= 0)
        procconn_ask_drops(stream);
    lost = loss_total(&stream->loss);
    pthread_mutex_unlock(&stream->lock);
    return lost;
}

uint64_t procconn_lost_usage(struct procconn_stream *stream)
{
    uint64_t lost;

    if (!procconn_is_owner(stream))
        return stream->lost_usage;
    pthread_mutex_lock(&stream->lock);
    lost = stream->usage != NULL ? procconn_usage_lost(stream->usage) : stream->lost_usage;
    pthread_mutex_unlock(&stream->lock);
    return lost;
}
