/* What the consumer may change: the filter, and whether it is subscribed. */
#include "stream/stream.h"

/* Drop the messages that do not pass the filter; what is not an event passes. */
static void refilter(struct messages *messages, const struct procconn_filter *filter)
{
    struct procconn_walk walk = {
        .buffer = messages->bytes, .size = messages->end, .offset = messages->start};
    struct procconn_event event;
    enum procconn_status status;
    size_t kept = messages->start, span;

    while ((status = procconn_next(&walk, &event)) != PROCCONN_END) {
        if (status == PROCCONN_EVENT && !procconn_filter_matches_event(filter, &event))
            continue;
        span = walk.offset - walk.at;
        memmove(messages->bytes + kept, messages->bytes + walk.at, span);
        kept += span;
    }
    messages->end = kept;
}

static void refilter_all(struct procconn_stream *stream)
{
    refilter(&stream->queue, &stream->settings.filter);
    refilter(&stream->stage, &stream->settings.filter);
}

int procconn_change_filter(struct procconn_stream *stream, const struct procconn_filter *filter)
{
    int status;

    pthread_mutex_lock(&stream->lock);
    if (filter == NULL)
        filter = &stream->settings.filter;
    status = procconn_attach_filter(stream->socket, filter);
    if (status == 0) {
        stream->settings.filter = *filter;
        stream->misses_exits = true;
        refilter_all(stream);
        stream->refilters = true;
        if (!stream->has_thread) /* so that events which do not pass wake no poller */
            procconn_drain(stream, SIZE_MAX, false);
    }
    pthread_mutex_unlock(&stream->lock);
    return status;
}

/* Report that an unknown number of events is lost. */
static void note_unknown(struct procconn_stream *stream)
{
    stream->misses_exits = true;
    loss_note(&stream->loss, true, procconn_now_ns());
    procconn_drain(stream, SIZE_MAX, false);
}

int procconn_subscribe(struct procconn_stream *stream, uint32_t nonce, int64_t timeout_ns,
                       uint32_t again)
{
    int status = procconn_enter(stream, CHANGING);

    if (status < 0)
        return status;
    pthread_mutex_lock(&stream->lock);
    if (again) { /* the kernel has already dropped the LISTEN */
        stream->owed = 0;
        procconn_end_listening(stream);
    }
    stream->subscribed = true;
    pthread_mutex_unlock(&stream->lock);
    if (stream->owed == 0)
        status = procconn_begin_listening(stream, nonce, timeout_ns);
    pthread_mutex_lock(&stream->lock);
    if (status < 0)
        procconn_end_listening(stream);
    else
        procconn_open_usage(stream);
    if (status == 0 && again)
        note_unknown(stream);
    pthread_mutex_unlock(&stream->lock);
    procconn_leave(stream);
    return status;
}

int procconn_unsubscribe(struct procconn_stream *stream)
{
    const struct procconn_filter nothing = {0};
    int status = procconn_enter(stream, CHANGING);

    if (status < 0)
        return status;
    pthread_mutex_lock(&stream->lock);
    stream->subscribed = stream->stale = false;
    status = procconn_attach_filter(stream->socket, &nothing);
    procconn_end_listening(stream);
    pthread_mutex_unlock(&stream->lock);
    procconn_leave(stream);
    return status;
}
