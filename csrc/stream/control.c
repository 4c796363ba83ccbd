/* Changes by the consumer: the filter, and the subscription. */
#include "stream/stream.h"

int stream_change_filter(struct procconn_stream *stream, const struct procconn_filter *filter)
{
    int status;

    pthread_mutex_lock(&stream->lock);
    if (filter == NULL)
        filter = &stream->settings.filter;
    status = netlink_attach_filter(stream->events.fd, filter);
    if (status == 0) {
        stream->settings.filter = *filter;
        trailers_note_missing(&stream->trailers);
        buffer_refilter(&stream->queue, filter);
        buffer_refilter(&stream->staging, filter);
        stream_note_space(stream);
        drain_refilter(&stream->drain);
        if (!stream->has_thread) /* so that events which do not pass wake no poller */
            stream_drain(stream, SIZE_MAX, false);
    }
    pthread_mutex_unlock(&stream->lock);
    return status;
}

/* Report that an unknown number of events is lost. */
static void note_unknown(struct procconn_stream *stream)
{
    trailers_note_missing(&stream->trailers);
    loss_note(&stream->loss, true, procconn_now_ns());
    stream_drain(stream, SIZE_MAX, false);
}

int procconn_subscribe(struct procconn_stream *stream, uint32_t nonce, int64_t timeout_ns,
                       uint32_t again)
{
    int status = stream_enter(stream, CHANGING);

    if (status < 0)
        return status;
    pthread_mutex_lock(&stream->lock);
    if (again)
        subscription_forget(&stream->subscription);
    stream->is_subscribed = true;
    pthread_mutex_unlock(&stream->lock);
    status = subscription_begin(&stream->subscription, nonce, timeout_ns, stream->readiness.wake);
    pthread_mutex_lock(&stream->lock);
    if (status < 0)
        subscription_end(&stream->subscription);
    else
        stream_open_usage(stream);
    if (status == 0 && again)
        note_unknown(stream);
    pthread_mutex_unlock(&stream->lock);
    stream_leave(stream);
    return status;
}

int procconn_unsubscribe(struct procconn_stream *stream)
{
    const struct procconn_filter nothing = {0};
    int status = stream_enter(stream, CHANGING);

    if (status < 0)
        return status;
    pthread_mutex_lock(&stream->lock);
    stream->is_subscribed = false;
    failure_forget_stale(&stream->failure);
    status = netlink_attach_filter(stream->events.fd, &nothing);
    subscription_end(&stream->subscription);
    pthread_mutex_unlock(&stream->lock);
    stream_leave(stream);
    return status;
}
