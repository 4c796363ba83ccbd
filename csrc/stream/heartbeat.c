#include "stream/heartbeat.h"

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

/* Cause a COMM event of this thread while the filter lets it pass. Its datagram is queued when
 * prctl returns. *renamed is a negative errno if a sandbox refuses prctl. */
static int cause_event(struct procconn_stream *stream, int *renamed)
{
    const struct procconn_filter *filter = &stream->settings.filter;
    struct procconn_bpf bpf;
    int status;

    procconn_filter_build_liveness(filter, (uint32_t)syscall(SYS_gettid), &bpf);
    status = netlink_attach_program(stream->events.fd, &bpf);
    if (status < 0)
        return status;
    *renamed = procconn_rename_thread();
    drain_refilter(&stream->drain); /* drop what passed only because of this check */
    return netlink_attach_filter(stream->events.fd, filter);
}

/* Called under the lock. */
static int check_liveness(struct procconn_stream *stream)
{
    struct heartbeat *heartbeat = &stream->heartbeat;
    int64_t last_rx_ns = heartbeat->last_rx_ns;
    int renamed = 0, status;

    if (!stream->is_subscribed || lifecycle_is_changing(&stream->life)) {
        heartbeat_note_rx(heartbeat, procconn_now_ns());
        return 0;
    }
    status = cause_event(stream, &renamed);
    if (status == 0)
        status = stream_drain(stream, SIZE_MAX, false);
    if (status < 0 || heartbeat->last_rx_ns != last_rx_ns)
        return status;
    heartbeat_note_rx(heartbeat, procconn_now_ns()); /* start a new interval */
    /* If the staging buffer is full, the datagram was not received. */
    return renamed < 0 || !stream->pacing.last.has_emptied ? 0 : -ENOTCONN;
}

int stream_check_liveness(struct procconn_stream *stream)
{
    int status;

    pthread_mutex_lock(&stream->lock);
    status = check_liveness(stream);
    pthread_mutex_unlock(&stream->lock);
    return status;
}
