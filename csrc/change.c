/* What the consumer may change: which events are wanted, whether there are any. */
#define _GNU_SOURCE /* struct mmsghdr */
#include "stream.h"

static void screen(struct messages *messages, const struct procconn_wanted *wanted)
{
    struct procconn_walk walk = {
        .buffer = messages->bytes, .size = messages->end, .offset = messages->start};
    struct procconn_event event;
    enum procconn_status status;
    size_t kept = messages->start, span;

    while ((status = procconn_next(&walk, &event)) != PROCCONN_END) {
        if (status == PROCCONN_EVENT && !procconn_is_wanted(wanted, &event))
            continue;
        span = walk.offset - walk.at;
        memmove(messages->bytes + kept, messages->bytes + walk.at, span);
        kept += span;
    }
    messages->end = kept;
}

static void screen_all(struct procconn_stream *stream)
{
    procconn_consume(stream, stream->window.taken);
    stream->window.taken = stream->window.size = 0;
    screen(&stream->queue, &stream->settings.wanted);
    screen(&stream->stage, &stream->settings.wanted);
}

int procconn_change(struct procconn_stream *stream, const struct procconn_wanted *wanted,
                    uint64_t holder)
{
    int status = procconn_enter(stream, CHANGING);

    if (status < 0)
        return status;
    pthread_mutex_lock(&stream->lock);
    if (wanted == NULL)
        wanted = &stream->settings.wanted;
    status = procconn_attach_filter(stream->socket, &wanted->filter);
    if (status == 0) {
        stream->settings.wanted = *wanted;
        stream->misses_exits = true;
        screen_all(stream);
        stream->screening = true;
        if (!stream->has_thread) /* or else a poller would see what is not wanted */
            procconn_drain(stream, SIZE_MAX, false);
        procconn_hold(stream, holder);
    }
    pthread_mutex_unlock(&stream->lock);
    procconn_leave(stream);
    return status;
}

static void note_unknown(struct procconn_stream *stream)
{
    procconn_note_gap(stream, 0, procconn_now_ns());
    procconn_drain(stream, SIZE_MAX, false);
}

int procconn_subscribe(struct procconn_stream *stream, const struct procconn_filter *answers,
                       uint32_t nonce, int64_t timeout_ns, uint32_t again)
{
    int status = procconn_enter(stream, CHANGING);

    if (status < 0)
        return status;
    pthread_mutex_lock(&stream->lock);
    if (again) { /* the kernel has forgotten the LISTEN already */
        stream->owed = 0;
        procconn_end_listening(stream);
    }
    stream->subscribed = true;
    pthread_mutex_unlock(&stream->lock);
    if (stream->owed == 0)
        status = procconn_begin_listening(stream, answers, nonce, timeout_ns);
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

int procconn_unsubscribe(struct procconn_stream *stream, const struct procconn_filter *nothing)
{
    int status = procconn_enter(stream, CHANGING);

    if (status < 0)
        return status;
    pthread_mutex_lock(&stream->lock);
    stream->subscribed = stream->silent = false;
    status = procconn_attach_filter(stream->socket, nothing);
    procconn_end_listening(stream);
    pthread_mutex_unlock(&stream->lock);
    procconn_leave(stream);
    return status;
}
