/*
 * What a stream has decoded and nobody has taken yet. It is handed out by an iterator,
 * the one item of a list that Python looks into.
 *
 * Who takes the last event of a list leaves an iterator that is at its end for good, and
 * others may do so at any time. So no list is added to that others have seen: the
 * consumer moves what is left into a new one, decodes behind that, and then puts its
 * iterator into the place.
 */
#include "limited.h"

#include <errno.h>

#include "filler.h"
#include "stream.h"

/* So many items at most are taken from a list without memory for it. */
enum { FEW = 8 };

/* Fills the empty places of the new list; if others took some meanwhile, fewer. Without
 * the GIL, who looked may have seen the number of an older one: then there are more. */
static void move(PyObject *from, PyObject *to, Py_ssize_t left)
{
    PyObject *event;
    Py_ssize_t moved = 0;

    while (moved < left && (event = PyIter_Next(from)) != NULL)
        PyList_SetItem(to, moved++, event);
    for (Py_ssize_t end = left; end > moved; end = left) {
        left = end - moved > FEW ? end - FEW : moved;
        PyList_SetSlice(to, left, end, NULL);
    }
    while ((event = PyIter_Next(from)) != NULL) {
        PyList_Append(to, event);
        Py_DECREF(event);
    }
}

/* Who sees the new number finds what is new in the place. */
static void new_round(struct procconn_stream *stream)
{
    __atomic_store_n(&stream->window.rounds, stream->window.rounds + 1, __ATOMIC_RELEASE);
}

/* Decodes what is in the window. Fails by lack of memory alone: all messages in the
 * stream are whole. Then the rest stays in the stream. */
static int decode(struct procconn_stream *stream, Py_ssize_t left)
{
    struct procconn_walk walk = {.buffer = stream->window.bytes, .size = stream->window.size};
    PyGILState_STATE gil = PyGILState_Ensure();
    PyObject *place = stream->settings.decoded;
    PyObject *events = PyList_New(left), *iterator = NULL;
    int status = -ENOMEM;

    if (events != NULL) {
        PyObject_GC_UnTrack(events); /* nobody is to find its empty places */
        iterator = PyObject_CallFunctionObjArgs(
            PyTuple_GetItem(stream->settings.types, ITERATE), events, NULL);
    }
    if (iterator != NULL) {
        move(PyList_GetItem(place, 0), events, left);
        if (procconn_decode(&walk, events, stream->settings.types, SIZE_MAX) >= 0)
            status = 0;
        PyList_SetItem(place, 0, iterator);
        new_round(stream);
    } else {
        PyErr_Clear(); /* the caller raises its own */
    }
    Py_XDECREF(events);
    PyGILState_Release(gil);
    procconn_take(stream, walk.offset, walk.offset > 0 || left > 0);
    return status;
}

void procconn_let_go(struct procconn_stream *stream, uint64_t holder)
{
    if (__atomic_load_n(&stream->window.holder, __ATOMIC_RELAXED) != holder)
        return;
    stream->window.size = 0;
    new_round(stream); /* the place may have another iterator */
    __atomic_store_n(&stream->window.taken, 0, __ATOMIC_RELEASE);
}

int procconn_read(struct procconn_stream *stream, int64_t deadline_ns, size_t most, uint64_t rounds,
                  size_t left)
{
    int status = procconn_enter(stream, READING);

    if (status < 0)
        return status;
    if (stream->window.rounds != rounds)
        status = -EAGAIN;
    else
        status = procconn_bring(stream, left > 0 ? 0 : deadline_ns, most);
    if (status == 0 && (stream->window.size > 0 || left > 0))
        status = decode(stream, (Py_ssize_t)left);
    else if (status == 0)
        procconn_take(stream, 0, false);
    procconn_leave(stream);
    return status;
}
