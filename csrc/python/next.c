/* One step of each kind of iterator. */
#include "python/limited.h"

#include <errno.h>

#include "python/iterator.h"

PyObject *iterator_next_pending_event(struct iterator *iterator)
{
    return reader_pop(iterator->reader);
}

PyObject *iterator_next_pending_list(struct iterator *iterator)
{
    return reader_take(iterator->reader);
}

PyObject *iterator_next_event(struct iterator *iterator)
{
    struct reader *reader = iterator->reader;
    PyObject *event;
    int status;

    while ((event = reader_pop(reader)) == NULL) {
        status = reader_fill(reader, iterator->deadline_ns, READER_BATCH);
        if (status == -ECANCELED && iterator->kept != NULL)
            return NULL; /* closing ends an iteration */
        if (!reader_handle_status(reader, status))
            return NULL;
        if (status == 0 && procconn_is_over(iterator->deadline_ns))
            return reader_pop(reader);
    }
    return event;
}

/* Whether to drop the exception and return the pending events first: it is that of a failed system
 * call, which fails again at the next call. A signal handler's OSError must be raised now, and so
 * must a failure to renew the subscription, which is not retried. */
static bool is_deferred(struct reader *reader, int status)
{
    bool recurs = status != 0 && status != -EINTR && status != -ENOTCONN;

    if (!recurs || !reader_has_pending(reader) || !PyErr_ExceptionMatches(PyExc_OSError))
        return false;
    PyErr_Clear();
    return true;
}

PyObject *iterator_next_list(struct iterator *iterator)
{
    struct reader *reader = iterator->reader;
    PyObject *list;
    int status;

    do {
        status = reader_fill(reader, iterator->deadline_ns, SIZE_MAX);
        if (status < 0 && PyErr_CheckSignals() != 0)
            return NULL; /* a handler's exception is not deferred */
        if (reader_handle_status(reader, status)) {
            if (status != 0)
                continue; /* there may be more */
        } else if (!is_deferred(reader, status)) {
            return NULL;
        }
        list = reader_take(reader);
        if (list != NULL || PyErr_Occurred() != NULL)
            return list;
    } while (status != 0 || !procconn_is_over(iterator->deadline_ns));
    return NULL;
}

/* Wait for messages, of which up to `most` bytes are to be copied. Returns false if the deadline
 * passed or, with an exception, after a failure. Otherwise end_copy must follow. */
static bool begin_copy(const struct iterator *iterator, size_t most, struct procconn_walk *walk)
{
    struct reader *reader = iterator->reader;
    int status;

    for (;;) {
        status = reader_begin(reader, iterator->deadline_ns, most, false, walk);
        if (walk->size > 0 && !reader_has_warning(reader))
            return true;
        if (walk->size > 0)
            reader_end(reader, 0); /* the warning runs Python code; then begin again */
        if (status != 0 ? !reader_handle_status(reader, status) : !reader_warn(reader))
            return false;
        if (status == 0 && walk->size == 0)
            return false;
    }
}

/* Consume the copied messages, unless there is no result. */
static PyObject *end_copy(struct reader *reader, PyObject *result, size_t size)
{
    reader_end(reader, result != NULL ? size : 0);
    return result;
}

PyObject *iterator_next_raw(struct iterator *iterator)
{
    struct procconn_walk walk;

    if (!begin_copy(iterator, SIZE_MAX, &walk))
        return NULL;
    return end_copy(iterator->reader,
                    PyBytes_FromStringAndSize((const char *)walk.buffer, (Py_ssize_t)walk.size),
                    walk.size);
}

PyObject *iterator_next_into(struct iterator *iterator)
{
    struct procconn_walk walk;
    PyObject *result = NULL;
    Py_buffer buffer;

    if (PyObject_GetBuffer(iterator->kept, &buffer, PyBUF_WRITABLE) != 0)
        return NULL;
    if (begin_copy(iterator, (size_t)buffer.len, &walk)) {
        memcpy(buffer.buf, walk.buffer, walk.size);
        result = end_copy(iterator->reader, PyLong_FromSize_t(walk.size), walk.size);
    }
    PyBuffer_Release(&buffer);
    return result;
}
