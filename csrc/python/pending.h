/*
 * Pending events: decoded and not taken yet, oldest first. They are in no reference cycle, and the
 * GC does not track them.
 *
 * Allocating objects can run finalizers, which may take events. So no function here allocates an
 * object between reading an index and using it.
 */
#ifndef PROCCONN_PENDING_H
#define PROCCONN_PENDING_H

#include "python/limited.h"

#include "wire/message.h"

struct pending {
    PyObject **events; /* the pending ones are those from next to count */
    size_t capacity, next, count;
};

static inline size_t pending_length(const struct pending *pending)
{
    return pending->count - pending->next;
}

/* Append an event and steal the reference. Returns false, without stealing, if out of memory. */
bool pending_push(struct pending *pending, PyObject *event);

/* Remove the first event and return it; NULL if there is none. */
PyObject *pending_pop(struct pending *pending);

/* Move all events to an empty list of `length` items. Returns false if that is not their number. */
bool pending_move(struct pending *pending, PyObject *list, size_t length);

/* Drop events that do not match the filter. `classes` as for procconn_decode. */
void pending_refilter(struct pending *pending, const struct procconn_filter *filter,
                      PyObject *classes);

void pending_clear(struct pending *pending);

#endif
