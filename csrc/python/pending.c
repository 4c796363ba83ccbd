#include "python/pending.h"

#include "python/filler.h"
#include "wire/filter.h"

enum {
    SMALLEST_CAPACITY = 64,
    CAPACITY_KEPT = 8192, /* events; more than an iteration decodes at a time */
};

static bool pending_reserve(struct pending *pending)
{
    size_t length = pending_length(pending), capacity;
    PyObject **events;

    if (pending->count < pending->capacity)
        return true;
    if (pending->next > 0 && pending->next >= length) { /* at least half is free */
        memmove(pending->events, pending->events + pending->next, length * sizeof *events);
        pending->next = 0;
        pending->count = length;
        return true;
    }
    capacity = pending->capacity > 0 ? 2 * pending->capacity : SMALLEST_CAPACITY;
    events = PyMem_Realloc(pending->events, capacity * sizeof *events);
    if (events == NULL)
        return false;
    pending->events = events;
    pending->capacity = capacity;
    return true;
}

bool pending_push(struct pending *pending, PyObject *event)
{
    if (!pending_reserve(pending))
        return false;
    pending->events[pending->count++] = event;
    return true;
}

/* Start at the front again once empty; free the memory after a burst. */
static void pending_rewind(struct pending *pending)
{
    if (pending->next < pending->count)
        return;
    pending->next = pending->count = 0;
    if (pending->capacity <= CAPACITY_KEPT)
        return;
    PyMem_Free(pending->events);
    pending->events = NULL;
    pending->capacity = 0;
}

PyObject *pending_pop(struct pending *pending)
{
    PyObject *event;

    if (pending->next == pending->count)
        return NULL;
    event = pending->events[pending->next++];
    pending_rewind(pending);
    return event;
}

bool pending_move(struct pending *pending, PyObject *list, size_t length)
{
    if (pending_length(pending) != length)
        return false;
    for (size_t i = 0; i < length; i++)
        PyList_SetItem(list, (Py_ssize_t)i, pending->events[pending->next++]);
    pending_rewind(pending);
    return true;
}

static uint32_t field(PyObject *event, size_t index)
{
    return (uint32_t)PyLong_AsUnsignedLong(PyTuple_GetItem(event, (Py_ssize_t)index));
}

/* Whether the message that an event was created from matches the filter. */
static bool matches(PyObject *event, const struct procconn_filter *filter, PyObject *classes)
{
    PyObject *class = (PyObject *)Py_TYPE(event);
    unsigned bit = 0;
    uint32_t what;
    size_t task;

    if (class == PyTuple_GetItem(classes, LOST_TYPE))
        return true;
    if (class == PyTuple_GetItem(classes, UNKNOWN_TYPE))
        return procconn_filter_matches(filter, field(event, 0), 0, 0) != 0;
    while (PyTuple_GetItem(classes, bit) != class)
        bit++;
    what = (uint32_t)1 << bit;
    task = filter_own_word(what);
    return procconn_filter_matches(filter, what, field(event, task) != field(event, task + 1),
                                   what == PROCCONN_EXIT ? field(event, 2) : 0) != 0;
}

void pending_refilter(struct pending *pending, const struct procconn_filter *filter,
                      PyObject *classes)
{
    size_t kept = pending->next;
    PyObject *event;

    for (size_t i = pending->next; i < pending->count; i++) {
        event = pending->events[i];
        if (matches(event, filter, classes))
            pending->events[kept++] = event;
        else
            Py_DECREF(event); /* contains only numbers, text and bytes: runs no code */
    }
    pending->count = kept;
    pending_rewind(pending);
}

void pending_clear(struct pending *pending)
{
    PyObject *event;

    while ((event = pending_pop(pending)) != NULL)
        Py_DECREF(event);
    PyMem_Free(pending->events);
    *pending = (struct pending){0};
}
