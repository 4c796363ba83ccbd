/*
 * Waits for events and lets them gather. Who emptied the socket waits before it
 * receives again, so that a wake-up takes two system calls: the wait, the receive;
 * or one, where the receive may wait.
 */
#define _GNU_SOURCE /* struct mmsghdr */
#include "stream.h"

enum { MAY_BLOCK = 2 };

/* Lets events gather until the time has come or the socket may be half full. Where
 * the kernel does not tell how full it is (before 4.12), they gather for as long as
 * it cannot be. */
static int gather(const struct procconn_stream *stream, int64_t emptied_ns, int64_t until_ns)
{
    int64_t filling_ns = emptied_ns + stream->filling_ns;
    uint32_t meminfo[MEMINFO_COUNT];
    int64_t now_ns;
    int status = 0;

    while (status == 0 && (now_ns = procconn_now_ns()) < until_ns) {
        if (now_ns >= filling_ns) {
            if (!procconn_read_meminfo(stream->socket, meminfo) ||
                meminfo[MEMINFO_QUEUED] >= meminfo[MEMINFO_LIMIT] / 2)
                break;
            filling_ns = now_ns + stream->filling_ns;
        }
        status = procconn_sleep(-1, stream->wake, procconn_earlier(until_ns, filling_ns));
    }
    return status;
}

/* Of the C library: glibc has it from 2.32 on, musl has not. */
extern const char __libc_single_threaded __attribute__((weak));

/* Whether the receive itself may do the waiting, which saves a system call. It could not be
 * woken when the stream is closed; but where there is one thread, it cannot close meanwhile. */
static bool may_block(int64_t deadline_ns)
{
    return deadline_ns < 0 && &__libc_single_threaded != NULL && __libc_single_threaded;
}

/* Waits until there may be something to drain or to finish: 1, or MAY_BLOCK if the drain is
 * to wait for it, 0 if the deadline came first, or a negative errno. The first event after a
 * silence is taken at once, what follows it at most once in gather_ns, or sooner if the
 * socket fills. */
static int await_events(struct procconn_stream *stream, int64_t deadline_ns)
{
    int64_t emptied_ns, next_ns, again_ns;
    bool staged;
    int status;

    pthread_mutex_lock(&stream->lock);
    emptied_ns = stream->emptied_ns;
    next_ns = stream->woken_ns + stream->settings.gather_ns;
    staged = stream->stage.end > stream->stage.start;
    again_ns = stream->again_ns;
    pthread_mutex_unlock(&stream->lock);

    if (staged && again_ns != 0) /* a program is awaited, and the queue had room */
        status = procconn_sleep(-1, stream->wake, procconn_earlier(deadline_ns, again_ns));
    else if (staged || emptied_ns == 0)
        return 1;
    else if (procconn_now_ns() < next_ns)
        status = gather(stream, emptied_ns, procconn_earlier(deadline_ns, next_ns));
    else if (may_block(deadline_ns))
        return MAY_BLOCK;
    else
        return procconn_sleep(stream->socket, stream->wake, deadline_ns);
    return status < 0 ? status : 1;
}

/* Waits for datagrams, then drains. Returns 0, also when the deadline has passed or only
 * unwanted datagrams came, -EINTR, -ECANCELED when closed, or another negative errno. A
 * deadline of 0 polls. */
int procconn_receive(struct procconn_stream *stream, int64_t deadline_ns, size_t most)
{
    int status = deadline_ns != 0 ? await_events(stream, deadline_ns) : 1;

    if (status <= 0)
        return status;
    pthread_mutex_lock(&stream->lock);
    status = procconn_drain(stream, most, status == MAY_BLOCK);
    pthread_mutex_unlock(&stream->lock);
    return status;
}

int procconn_listen(struct procconn_stream *stream, int64_t deadline_ns, size_t most)
{
    int64_t due_ns = -1;
    int status;

    if (stream->settings.heartbeat_ns > 0)
        due_ns = stream->heard_ns + stream->settings.heartbeat_ns;
    status = procconn_receive(stream, procconn_earlier(deadline_ns, due_ns), most);
    if (status == 0 && due_ns >= 0 && stream->heard_ns < due_ns && procconn_now_ns() >= due_ns)
        status = procconn_check_liveness(stream);
    return status;
}
