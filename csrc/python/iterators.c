/*
 * Iterators over what a reader has: over events, all that waits as one list, or raw
 * messages. Python takes from them in a `for` statement, which runs no signal handler
 * between an item and the statement after it.
 */
#include "python/limited.h"

#include <errno.h>

#include "python/reader.h"

struct iterator {
    PyObject_HEAD
    struct reader *reader; /* NULL once the collector has cleared it */
    PyObject *kept;        /* the connector of an iteration, or the buffer to fill */
    PyObject *(*take)(struct iterator *iterator);
    int64_t deadline_ns;
};

static PyObject *next_pending_event(struct iterator *iterator)
{
    return reader_pop(iterator->reader);
}

static PyObject *next_pending_list(struct iterator *iterator)
{
    return reader_take(iterator->reader);
}

static PyObject *next_event(struct iterator *iterator)
{
    struct reader *reader = iterator->reader;
    PyObject *event;
    int status;

    while ((event = reader_pop(reader)) == NULL) {
        status = reader_fill(reader, iterator->deadline_ns, READER_BATCH);
        if (status == -ECANCELED && iterator->kept != NULL)
            return NULL; /* closing ends an iteration */
        if (!reader_look_into(reader, status))
            return NULL;
        if (status == 0 && procconn_is_over(iterator->deadline_ns))
            return reader_pop(reader);
    }
    return event;
}

/* Whether pending events come first, and the exception is dropped: that of a failed system
 * call, which fails again at the next call. A signal handler's OSError must be raised now, and
 * so must a failure to renew the subscription, which nothing repeats. */
static bool is_deferred(struct reader *reader, int status)
{
    bool recurs = status != 0 && status != -EINTR && status != -ENOTCONN;

    if (!recurs || !reader_has_pending(reader) || !PyErr_ExceptionMatches(PyExc_OSError))
        return false;
    PyErr_Clear();
    return true;
}

static PyObject *next_list(struct iterator *iterator)
{
    struct reader *reader = iterator->reader;
    PyObject *list;
    int status;

    do {
        status = reader_fill(reader, iterator->deadline_ns, SIZE_MAX);
        if (reader_look_into(reader, status)) {
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

/* Wait until there are messages, of which up to `most` bytes are to be copied. False if the
 * deadline passed, or, with an exception, after a failure. */
static bool begin_copy(const struct iterator *iterator, size_t most, struct procconn_walk *walk)
{
    struct reader *reader = iterator->reader;
    int status;

    do
        status = reader_begin(reader, iterator->deadline_ns, most, false, walk);
    while (status != 0 && reader_look_into(reader, status));
    return status == 0 && (walk->size > 0 || (reader_warn(reader), false));
}

/* Take what was copied, unless there is no result. */
static PyObject *end_copy(struct reader *reader, PyObject *result, size_t size)
{
    if (result != NULL && !reader_warn(reader))
        Py_CLEAR(result);
    reader_end(reader, result != NULL ? size : 0);
    return result;
}

static PyObject *next_raw(struct iterator *iterator)
{
    struct procconn_walk walk;

    if (!begin_copy(iterator, SIZE_MAX, &walk))
        return NULL;
    return end_copy(iterator->reader,
                    PyBytes_FromStringAndSize((const char *)walk.buffer, (Py_ssize_t)walk.size),
                    walk.size);
}

static PyObject *next_into(struct iterator *iterator)
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

static PyObject *next(PyObject *self)
{
    struct iterator *iterator = (struct iterator *)self;

    return iterator->reader != NULL ? iterator->take(iterator) : NULL;
}

static PyObject *itself(PyObject *self)
{
    Py_INCREF(self);
    return self;
}

static PyObject *make(PyObject *reader, PyObject *(*take)(struct iterator *), int64_t deadline_ns,
                      PyObject *kept)
{
    PyTypeObject *type = (PyTypeObject *)((struct reader *)reader)->iterator_type;
    struct iterator *iterator = (struct iterator *)PyType_GenericAlloc(type, 0);

    if (iterator == NULL)
        return NULL;
    Py_INCREF(reader);
    Py_XINCREF(kept);
    iterator->reader = (struct reader *)reader;
    iterator->kept = kept;
    iterator->take = take;
    iterator->deadline_ns = deadline_ns;
    return (PyObject *)iterator;
}

PyObject *procconn_iterate_events(PyObject *reader, PyObject *arguments)
{
    PyObject *connector = NULL;
    long long deadline_ns;

    if (!PyArg_ParseTuple(arguments, "L|O", &deadline_ns, &connector))
        return NULL;
    return make(reader, next_event, deadline_ns, connector);
}

static PyObject *make_until(PyObject *reader, PyObject *arguments,
                            PyObject *(*take)(struct iterator *))
{
    long long deadline_ns;

    if (!PyArg_ParseTuple(arguments, "L", &deadline_ns))
        return NULL;
    return make(reader, take, deadline_ns, NULL);
}

PyObject *procconn_iterate_lists(PyObject *reader, PyObject *arguments)
{
    return make_until(reader, arguments, next_list);
}

PyObject *procconn_iterate_pending_events(PyObject *reader, PyObject *unused)
{
    (void)unused;
    return make(reader, next_pending_event, 0, NULL);
}

PyObject *procconn_iterate_pending_lists(PyObject *reader, PyObject *unused)
{
    (void)unused;
    return make(reader, next_pending_list, 0, NULL);
}

PyObject *procconn_iterate_raw(PyObject *reader, PyObject *arguments)
{
    return make_until(reader, arguments, next_raw);
}

PyObject *procconn_iterate_into(PyObject *reader, PyObject *arguments)
{
    PyObject *buffer;
    long long deadline_ns;

    if (!PyArg_ParseTuple(arguments, "OL", &buffer, &deadline_ns))
        return NULL;
    return make(reader, next_into, deadline_ns, buffer);
}

static int traverse(PyObject *self, visitproc visit, void *arg)
{
    struct iterator *iterator = (struct iterator *)self;

    Py_VISIT(Py_TYPE(self));
    Py_VISIT((PyObject *)iterator->reader);
    Py_VISIT(iterator->kept);
    return 0;
}

static int clear(PyObject *self)
{
    struct iterator *iterator = (struct iterator *)self;

    Py_CLEAR(iterator->reader);
    Py_CLEAR(iterator->kept);
    return 0;
}

static void dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    clear(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

PyObject *procconn_make_iterator_type(void)
{
    PyType_Slot slots[] = {
        SLOT(Py_tp_iter, itself), SLOT(Py_tp_iternext, next),   SLOT(Py_tp_traverse, traverse),
        SLOT(Py_tp_clear, clear), SLOT(Py_tp_dealloc, dealloc), {0, NULL},
    };
    PyType_Spec spec = {"procconn._core.Iterator", sizeof(struct iterator), 0,
                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                        slots};

    return PyType_FromSpec(&spec);
}
