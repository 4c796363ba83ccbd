/*
 * Create the named tuples.
 *
 * Events are created by tuple's own constructor, called with the class and an argument tuple that
 * is filled again for each event. Allocating the object directly would be faster, but since 3.14 a
 * tuple caches its hash in a field that only the constructor sets.
 *
 * All state of a call is in `struct filler` on its stack. Threads that decode at the same time
 * share only the GIL or, in free-threaded builds, a walk that they both use.
 */
#include "python/limited.h"

#include "python/filler.h"
#include "wire/decode.h"

enum {
    UNKNOWN_FIELDS = 4,
    LOST_FIELDS = 2,
};

/* Fill the fields in the order of the named types: the kind's own, then timestamp_ns, cpu and the
 * trailer. Returns the argument tuple, borrowed. */
static PyObject *filler_arguments(struct filler *filler, const struct procconn_event *event)
{
    const struct procconn_kind *kind = event->kind;
    Py_ssize_t count =
        kind != NULL ? kind->words + kind->has_name + 2 + kind->has_trailer : UNKNOWN_FIELDS;
    PyObject *fields = filler_fields(filler, count);
    Py_ssize_t index = 0;

    if (fields == NULL)
        return NULL;
    if (kind == NULL) {
        if (!put(fields, &index, filler_int(filler, event->what)) ||
            !put(
                fields, &index,
                PyBytes_FromStringAndSize((const char *)event->data, (Py_ssize_t)event->data_size)))
            return NULL;
    } else {
        for (size_t i = 0; i < kind->words; i++)
            if (!put(fields, &index, filler_int(filler, procconn_event_word(event, i))))
                return NULL;
        if (kind->has_name &&
            !put(fields, &index, filler_name(filler, event->data + kind->words * WORD_SIZE)))
            return NULL;
    }
    if (!put(fields, &index, PyLong_FromUnsignedLongLong(event->timestamp_ns)) ||
        !put(fields, &index, filler_int(filler, event->cpu)))
        return NULL;
    if (kind != NULL && kind->has_trailer &&
        !put(fields, &index, procconn_make_trailer(filler, event)))
        return NULL;
    return filler->arguments[count];
}

static PyObject *lost_arguments(struct filler *filler, const struct procconn_event *event)
{
    PyObject *fields = filler_fields(filler, LOST_FIELDS);
    Py_ssize_t index = 0;

    if (fields == NULL || !put(fields, &index, PyLong_FromUnsignedLongLong(event->lost)) ||
        !put(fields, &index, PyLong_FromUnsignedLongLong(event->timestamp_ns)))
        return NULL;
    return filler->arguments[LOST_FIELDS];
}

static PyObject *make_event(struct filler *filler, const struct procconn_event *event,
                            enum procconn_status status)
{
    Py_ssize_t type;

    if (status == PROCCONN_LOST)
        return filler_make(filler, LOST_TYPE, lost_arguments(filler, event));
    type = event->kind != NULL ? event->kind - procconn_kinds : UNKNOWN_TYPE;
    return filler_make(filler, type, filler_arguments(filler, event));
}

/* Move the walk. Returns false if, without the GIL, another thread has moved it first. */
static bool move(struct procconn_walk *walk, size_t from, size_t to)
{
#ifdef Py_GIL_DISABLED
    return __atomic_compare_exchange_n(&walk->offset, &from, to, false, __ATOMIC_RELAXED,
                                       __ATOMIC_RELAXED);
#else
    (void)from;
    walk->offset = to;
    return true;
#endif
}

/* A message belongs to the thread that moves the walk past it; `own` is its step. */
static enum procconn_status take_next(struct filler *filler, struct procconn_walk *walk,
                                      struct procconn_walk *own, PyObject **object)
{
    struct procconn_event event;
    enum procconn_status status;

    *object = NULL;
    do {
        *own = (struct procconn_walk){
            .buffer = walk->buffer,
            .size = walk->size,
            .offset = __atomic_load_n(&walk->offset, __ATOMIC_RELAXED),
        };
        status = procconn_next(own, &event);
    } while (!move(walk, own->at, own->offset));
    __atomic_store_n(&walk->at, own->at, __ATOMIC_RELAXED);
    __atomic_store_n(&walk->error, own->error, __ATOMIC_RELAXED);
    if (status != PROCCONN_EVENT && status != PROCCONN_LOST)
        return status;
    *object = make_event(filler, &event, status);
    return *object != NULL ? status : PROCCONN_NO_MEMORY;
}

/* Move the walk back when out of memory, as the message was not delivered. Clears the MemoryError,
 * as the caller raises its own. */
static void step_back(struct procconn_walk *walk, const struct procconn_walk *own)
{
    move(walk, own->offset, own->at);
    PyErr_Clear();
}

enum procconn_status procconn_make_next(struct filler *filler, struct procconn_walk *walk,
                                        PyObject **object)
{
    struct procconn_walk own;
    enum procconn_status status = take_next(filler, walk, &own, object);

    if (status == PROCCONN_NO_MEMORY)
        step_back(walk, &own);
    return status;
}

static enum procconn_status append_next(struct filler *filler, struct procconn_walk *walk,
                                        PyObject *events)
{
    PyObject *object;
    struct procconn_walk own;
    enum procconn_status status = take_next(filler, walk, &own, &object);

    if (object != NULL && PyList_Append(events, object) != 0)
        status = PROCCONN_NO_MEMORY;
    if (status == PROCCONN_NO_MEMORY)
        step_back(walk, &own);
    Py_XDECREF(object);
    return status;
}

/* The list is untracked while it grows: the GC runs every few hundred allocations and would
 * traverse all of it. */
int procconn_decode(struct procconn_walk *walk, void *events, void *types, size_t most)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    enum procconn_status status;
    struct filler filler;

    filler_begin(&filler, types);
    PyObject_GC_UnTrack(events);
    do
        status = append_next(&filler, walk, events);
    while (status > PROCCONN_END && --most > 0);
    PyObject_GC_Track(events);
    filler_end(&filler);
    PyGILState_Release(gil);
    return status;
}
