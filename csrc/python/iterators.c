/* The iterator type, and the methods of a reader that create iterators. */
#include "python/limited.h"

#include "python/iterator.h"

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
    return make(reader, iterator_next_event, deadline_ns, connector);
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
    return make_until(reader, arguments, iterator_next_list);
}

PyObject *procconn_iterate_pending_events(PyObject *reader, PyObject *unused)
{
    (void)unused;
    return make(reader, iterator_next_pending_event, 0, NULL);
}

PyObject *procconn_iterate_pending_lists(PyObject *reader, PyObject *unused)
{
    (void)unused;
    return make(reader, iterator_next_pending_list, 0, NULL);
}

PyObject *procconn_iterate_raw(PyObject *reader, PyObject *arguments)
{
    return make_until(reader, arguments, iterator_next_raw);
}

PyObject *procconn_iterate_into(PyObject *reader, PyObject *arguments)
{
    PyObject *buffer;
    long long deadline_ns;

    if (!PyArg_ParseTuple(arguments, "OL", &buffer, &deadline_ns))
        return NULL;
    return make(reader, iterator_next_into, deadline_ns, buffer);
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
