/*
 * An iterator over a list of events that hands out each once, also to several threads.
 *
 * A list's own does so under the GIL, and is faster. Without one, two threads that call
 * it at the same time may get the same event: so here the place is claimed first.
 */
#include "limited.h"

#include "procconn.h"

#ifdef Py_GIL_DISABLED
#include <stdatomic.h>

struct handout {
    PyObject ob_base; /* as PyObject_HEAD has it, with a semicolon of its own */
    PyObject *events;
    _Atomic Py_ssize_t next;  /* beyond the end once all are claimed */
    _Atomic Py_ssize_t taken; /* of those claimed */
};

static PyObject *make(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    struct handout *handout;
    PyObject *events;

    (void)keywords;
    if (!PyArg_ParseTuple(arguments, "O!", &PyList_Type, &events))
        return NULL;
    handout = (struct handout *)PyType_GenericAlloc(type, 0);
    if (handout == NULL)
        return NULL;
    Py_INCREF(events);
    handout->events = events;
    return (PyObject *)handout;
}

static void finish(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    Py_DECREF(((struct handout *)self)->events);
    PyObject_Free(self);
    Py_DECREF(type);
}

/* The list gives its memory back with the last event, as its own iterator has it. */
static PyObject *next(PyObject *self)
{
    struct handout *handout = (struct handout *)self;
    Py_ssize_t size = PyList_Size(handout->events), index;
    PyObject *event;

    if (atomic_load(&handout->next) >= size)
        return NULL;
    index = atomic_fetch_add(&handout->next, 1);
    if (index >= size)
        return NULL;
    event = PyList_GetItemRef(handout->events, index);
    if (atomic_fetch_add(&handout->taken, 1) + 1 == size)
        PyList_SetSlice(handout->events, 0, size, NULL);
    return event;
}

static PyObject *length_hint(PyObject *self, PyObject *nothing)
{
    struct handout *handout = (struct handout *)self;
    Py_ssize_t left = PyList_Size(handout->events) - atomic_load(&handout->next);

    (void)nothing;
    return PyLong_FromSsize_t(left > 0 ? left : 0);
}

static PyMethodDef methods[] = {
    {"__length_hint__", length_hint, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_new, make},
    {Py_tp_dealloc, finish},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, next},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "procconn._core.Handout",
    .basicsize = sizeof(struct handout),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = slots,
};
#endif

int procconn_replace_iter(void *place)
{
    int status = 0;
#ifdef Py_GIL_DISABLED
    PyGILState_STATE gil = PyGILState_Ensure();
    PyObject *type = PyType_FromSpec(&spec);

    if (type == NULL || PyList_SetItem(place, 0, type) != 0) { /* which steals it */
        PyErr_Clear();
        status = -1;
    }
    PyGILState_Release(gil);
#else
    (void)place;
#endif
    return status;
}
