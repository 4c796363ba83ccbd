#include "round.h"

/* Check that no name arrives twice or out of order; count missing names and trailers. */
static void check_event(struct round *round, const struct procconn_event *event)
{
    char name[COMM_NAME_SIZE + 1] = {0};
    uint32_t number;
    char *end;

    if (event->trailer != NULL)
        *(event->what == PROCCONN_EXEC ? &round->programs : &round->usages) += 1;
    if (event->what != PROCCONN_COMM || procconn_event_word(event, 0) != round->producer)
        return;
    memcpy(name, event->data + (size_t)2 * WORD_SIZE, COMM_NAME_SIZE);
    number = (uint32_t)strtoul(name, &end, 10);
    if (end == name || *end != '\0')
        return; /* the thread's initial name */
    if (number == NAMES - 1 && round->next == NAMES)
        return; /* the producer repeats the last name */
    CHECK(number >= round->next);
    round->missing += number - round->next;
    round->next = number + 1;
}

static void check_batch(struct round *round, struct procconn_walk *walk)
{
    struct procconn_event event;
    enum procconn_status status;

    while ((status = procconn_next(walk, &event)) != PROCCONN_END) {
        if (status == PROCCONN_EVENT)
            check_event(round, &event);
        else if (status == PROCCONN_LOST)
            round->lost += event.lost;
    }
}

int consume_batch(struct round *round, int64_t deadline_ns, bool decodes)
{
    struct procconn_stream *stream = round->stream;
    struct procconn_walk walk = {0};
    int status = stream_enter(stream, READING);

    if (status < 0)
        return status;
    status = stream_fill(stream, deadline_ns, BATCH_SIZE, &walk);
    if (status == 0)
        check_batch(round, &walk);
    atomic_store(&stream->readiness.has_pending, decodes && walk.size > 0);
    stream_consume(stream, walk.offset);
    stream_leave(stream);
    if (decodes &&
        atomic_exchange(&stream->readiness.has_pending, false)) /* all events are consumed */
        stream_note_pending(stream);
    return status;
}
