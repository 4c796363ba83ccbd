/*
 * Wait as the pacing decides, then drain. A wake-up takes two system calls, the wait and the
 * receive, or one if the receive may block.
 */
#include "stream/stream.h"

enum { MAY_BLOCK = 2 };

/* From the C library: glibc has it since 2.32, musl does not. */
extern const char __libc_single_threaded __attribute__((weak));

/* Whether the receive itself may block, which saves a system call. A close could not wake it, but
 * in a process with one thread nothing can close the stream meanwhile. */
static bool may_block(int64_t deadline_ns)
{
    return deadline_ns < 0 && &__libc_single_threaded != NULL && __libc_single_threaded;
}

/* Also true if the kernel does not report how full a socket is (before 4.12). */
static bool may_be_half_full(const struct procconn_stream *stream)
{
    uint32_t meminfo[MEMINFO_COUNT];

    return !netlink_read_meminfo(stream->events.fd, meminfo) ||
           meminfo[MEMINFO_QUEUED] >= meminfo[MEMINFO_LIMIT] / 2;
}

/* Wait until it is time to drain. Returns 1, MAY_BLOCK if the drain is to wait for the first event,
 * 0 if the deadline passed first, or a negative errno. */
static int await_drain(struct procconn_stream *stream, int64_t deadline_ns)
{
    struct pacing_step step;
    struct pacing pacing;
    int64_t since_ns = procconn_now_ns(), now_ns = since_ns;
    int status = 0;

    pthread_mutex_lock(&stream->lock);
    pacing = stream->pacing;
    pthread_mutex_unlock(&stream->lock);
    while (status == 0) {
        step = pacing_next(&pacing, since_ns, now_ns, deadline_ns);
        if (step.action == PACING_DRAIN)
            return 1;
        if (step.action == PACING_AWAIT)
            return may_block(step.until_ns)
                       ? MAY_BLOCK
                       : procconn_sleep(stream->events.fd, stream->readiness.wake, step.until_ns);
        if (step.action == PACING_CHECK_FILL)
            pacing_note_fill(&pacing, now_ns, may_be_half_full(stream));
        else
            status = procconn_sleep(-1, stream->readiness.wake, step.until_ns);
        now_ns = procconn_now_ns();
    }
    return status;
}

int stream_receive(struct procconn_stream *stream, int64_t deadline_ns, size_t most)
{
    int status = await_drain(stream, deadline_ns);

    if (status <= 0)
        return status;
    pthread_mutex_lock(&stream->lock);
    status = stream_drain(stream, most, status == MAY_BLOCK);
    pthread_mutex_unlock(&stream->lock);
    return status;
}

int stream_listen(struct procconn_stream *stream, int64_t deadline_ns, size_t most)
{
    const struct heartbeat *heartbeat = &stream->heartbeat;
    int64_t due_ns = heartbeat_due_ns(heartbeat, stream->settings.heartbeat_ns);
    int status = stream_receive(stream, procconn_earlier(deadline_ns, due_ns), most);

    if (status == 0 && due_ns >= 0 && heartbeat->last_rx_ns < due_ns && procconn_now_ns() >= due_ns)
        status = stream_check_liveness(stream);
    return status;
}
