/*
 * Iterators of a reader: over events, over lists of all available events, or over raw messages.
 * They are used in `for` statements: Python runs no signal handler between receiving an item and
 * the first statement of the loop body.
 */
#ifndef PROCCONN_ITERATOR_H
#define PROCCONN_ITERATOR_H

#include "python/reader.h"

struct iterator {
    PyObject_HEAD
    struct reader *reader; /* NULL once the GC has cleared it */
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
