/*
 * Iterators over what a reader has: over events, all that waits as one list, or raw messages.
 * Python takes from them in a `for` statement, which runs no signal handler between an item and
 * the statement after it.
 */
#ifndef PROCCONN_ITERATOR_H
#define PROCCONN_ITERATOR_H

#include "python/reader.h"

struct iterator {
    PyObject_HEAD
    struct reader *reader; /* NULL once the collector has cleared it */
    PyObject *kept;        /* the connector of an iteration, or the buffer to fill */
    PyObject *(*take)(struct iterator *iterator);
    int64_t deadline_ns;
};

/* next.c: return the next item; NULL at the end, or with an exception. */
PyObject *iterator_next_pending_event(struct iterator *iterator);
PyObject *iterator_next_pending_list(struct iterator *iterator);
PyObject *iterator_next_event(struct iterator *iterator);
PyObject *iterator_next_list(struct iterator *iterator);
PyObject *iterator_next_raw(struct iterator *iterator);
PyObject *iterator_next_into(struct iterator *iterator);

#endif
