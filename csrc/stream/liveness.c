/* The liveness check of a stale subscription: an event that is caused here must arrive. */
#include <errno.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "stream/stream.h"

int procconn_rename_thread(void)
{
    char name[COMM_NAME_SIZE];

    if (prctl(PR_GET_NAME, name) != 0 || prctl(PR_SET_NAME, name) != 0)
        return -errno;
    return 0;
}

/* Cause a COMM event of this thread while it passes the filter. Its datagram is queued when
 * prctl returns. *renamed is a negative errno if a sandbox refuses that. */
static int cause_event(struct procconn_stream *stream, int *renamed)
{
    const struct procconn_filter *filter = &stream->settings.filter;
    struct procconn_bpf bpf;
    int status;

    procconn_filter_build_liveness(filter, (uint32_t)syscall(SYS_gettid), &bpf);
    status = procconn_attach_bpf(stream->socket, &bpf);
    if (status < 0)
        return status;
    *renamed = procconn_rename_thread();
    stream->refilters = true; /* the drain drops what passed only because of this check */
    return procconn_attach_filter(stream->socket, filter);
}

/* Under the lock. */
static int check_liveness(struct procconn_stream *stream)
{
    int64_t heard_ns = stream->heard_ns;
    int renamed = 0, status;

    if (!stream->subscribed || (atomic_load(&stream->state) & CHANGING) != 0) {
        stream->heard_ns = procconn_now_ns();
        return 0;
    }
    status = cause_event(stream, &renamed);
    if (status == 0)
        status = procconn_drain(stream, SIZE_MAX, false);
    if (status < 0 || stream->heard_ns != heard_ns)
        return status;
    stream->heard_ns = procconn_now_ns(); /* the next check is after as long again */
    /* If the staging buffer is full, the datagram was not received. */
    return renamed < 0 || !stream->pacing.last.has_emptied ? 0 : -ENOTCONN;
}

int procconn_check_liveness(struct procconn_stream *stream)
{
    int status;

    pthread_mutex_lock(&stream->lock);
    status = check_liveness(stream);
    pthread_mutex_unlock(&stream->lock);
    return status;
}
