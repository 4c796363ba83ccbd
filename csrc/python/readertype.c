/* The Python type of the reader. */
#include "python/limited.h"

#include <errno.h>

#include "python/reader.h"

/* Decode the available messages without waiting. Returns the status. */
static PyObject *poll(PyObject *self, PyObject *unused)
{
    struct reader *reader = (struct reader *)self;
    int status;

    (void)unused;
    do
        status = reader_fill(reader, 0, READER_BATCH);
    while (status == -EINTR && reader_handle_status(reader, status));
    if (status == -EINTR || (status == 0 && !reader_handle_status(reader, status)))
        return NULL;
    return PyLong_FromLong(status);
}

static Py_ssize_t length(PyObject *self)
{
    return (Py_ssize_t)reader_length((struct reader *)self);
}

static int traverse(PyObject *self, visitproc visit, void *arg)
{
    struct reader *reader = (struct reader *)self;

    Py_VISIT(Py_TYPE(self));
    Py_VISIT(reader->classes);
    Py_VISIT(reader->handle_status);
    Py_VISIT(reader->iterator_type);
    return 0;
}

/* The classes and the iterator type are kept: they are still needed, and do not refer to a
 * reader. */
static int clear(PyObject *self)
{
    Py_CLEAR(((struct reader *)self)->handle_status);
    return 0;
}

static void dealloc(PyObject *self)
{
    struct reader *reader = (struct reader *)self;
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    pending_clear(&reader->pending);
    Py_CLEAR(reader->handle_status);
    Py_CLEAR(reader->classes);
    Py_CLEAR(reader->iterator_type);
    stream_drop_reference(reader->stream, REFERENCE);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

/* The methods of the type, which is created for each interpreter. */
static PyMethodDef methods[] = {
    {"events", procconn_iterate_events, METH_VARARGS, NULL},
    {"lists", procconn_iterate_lists, METH_VARARGS, NULL},
    {"pending_events", procconn_iterate_pending_events, METH_NOARGS, NULL},
    {"pending_lists", procconn_iterate_pending_lists, METH_NOARGS, NULL},
    {"raw", procconn_iterate_raw, METH_VARARGS, NULL},
    {"into", procconn_iterate_into, METH_VARARGS, NULL},
    {"poll", poll, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

int procconn_make_types(void *types)
{
    PyType_Slot slots[] = {
        {Py_tp_methods, methods}, SLOT(Py_sq_length, length),   SLOT(Py_tp_traverse, traverse),
        SLOT(Py_tp_clear, clear), SLOT(Py_tp_dealloc, dealloc), {0, NULL},
    };
    PyType_Spec spec = {"procconn._core.Reader", sizeof(struct reader), 0,
                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                        slots};
    PyGILState_STATE gil = PyGILState_Ensure();
    PyObject *made[] = {PyType_FromSpec(&spec), procconn_make_iterator_type()};
    int status = 0;

    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        if (made[i] == NULL || PyList_Append(types, made[i]) != 0)
            status = -ENOMEM;
        Py_XDECREF(made[i]);
    }
    if (status < 0)
        PyErr_Clear();
    PyGILState_Release(gil);
    return status;
}

int procconn_make_reader(struct procconn_stream *stream, void *types, void *classes,
                         void *handle_status, void *cell)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    PyTypeObject *type = (PyTypeObject *)PyList_GetItem(types, 0);
    struct reader *reader = (struct reader *)PyType_GenericAlloc(type, 0);
    int status = -ENOMEM;

    if (reader != NULL) {
        lifecycle_add_reference(&stream->life);
        reader->stream = stream;
        reader->classes = classes;
        reader->handle_status = handle_status;
        reader->iterator_type = PyList_GetItem(types, 1);
        Py_INCREF(reader->classes);
        Py_INCREF(reader->handle_status);
        Py_INCREF(reader->iterator_type);
        PyList_SetItem(cell, 0, (PyObject *)reader);
        status = 0;
    } else {
        PyErr_Clear();
    }
    PyGILState_Release(gil);
    return status;
}

int procconn_change(void *object, const struct procconn_filter *filter)
{
    struct reader *reader = object;
    struct procconn_stream *stream = reader->stream;
    int status = stream_enter(stream, CHANGING);

    if (status < 0)
        return status;
    status = stream_change_filter(stream, filter);
    if (status == 0) {
        reader_refilter(reader);
        stream_note_pending(stream);
    }
    stream_leave(stream);
    return status;
}
