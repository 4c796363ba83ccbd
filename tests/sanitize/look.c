#define _GNU_SOURCE /* struct mmsghdr */
#include "round.h"

/* Names that come once, and in order; counts those that do not. */
static void look_at(struct round *round, const struct procconn_event *event)
{
    char name[COMM_NAME_SIZE + 1] = {0};
    uint32_t number;
    char *end;

    if (event->tail != NULL)
        *(event->what == PROCCONN_EXEC ? &round->programs : &round->usages) += 1;
    if (event->what != PROCCONN_COMM || procconn_event_word(event, 0) != round->producer)
        return;
    memcpy(name, event->data + (size_t)2 * WORD_SIZE, COMM_NAME_SIZE);
    number = (uint32_t)strtoul(name, &end, 10);
    if (end == name || *end != '\0')
        return; /* its name before the first */
    if (number == NAMES - 1 && round->seen == NAMES)
        return;
    CHECK(number >= round->seen);
    round->missing += number - round->seen;
    round->seen = number + 1;
}

static void look(struct round *round, const struct procconn_window *window)
{
    struct procconn_walk walk = {.buffer = window->bytes, .size = window->size};
    struct procconn_event event;
    enum procconn_status status;

    while ((status = procconn_next(&walk, &event)) != PROCCONN_END) {
        if (status == PROCCONN_EVENT)
            look_at(round, &event);
        else if (status == PROCCONN_LOST)
            round->lost += event.lost;
    }
}

int look_behind(struct round *round, int64_t deadline_ns)
{
    struct procconn_window *window = procconn_window(round->stream);
    int status = procconn_wait(round->stream, deadline_ns, MOST, 0);

    if (status == 0) {
        look(round, window);
        procconn_set_waiting(round->stream, 0);
        __atomic_store_n(&window->taken, window->size, __ATOMIC_RELAXED);
    }
    return status;
}

int look_within(struct round *round, int64_t deadline_ns)
{
    struct procconn_window *window = procconn_window(round->stream);
    int status = procconn_enter(round->stream, READING);

    if (status < 0)
        return status;
    status = procconn_bring(round->stream, deadline_ns, MOST);
    if (status == 0 && window->size > 0) {
        look(round, window);
        procconn_take(round->stream, window->size, true);
        procconn_set_waiting(round->stream, 0);
    }
    procconn_leave(round->stream);
    return status;
}
