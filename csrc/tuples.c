/*
 * Fills the named tuples. With batch.c the only file that knows Python.
 *
 * Events are made by tuple's own constructor, called with the class and one
 * argument tuple that is filled anew for each event: allocating the object
 * directly would be faster, but from 3.14 on a tuple caches its hash in a field
 * that only the constructor sets.
 *
 * All state of a call lives in `struct filler` on its stack. That, and the GIL
 * (or, in a free-threaded build, the attached thread state), is all that two
 * threads decoding at once have between them.
 */
#include <pyconfig.h>
#ifndef Py_GIL_DISABLED /* free-threaded builds before 3.15 have no stable ABI */
#define Py_LIMITED_API 0x030b0000
#endif
#include <Python.h>

#include "filler.h"

/* Places in `types`, behind those of the 32 bits. */
enum {
    UNKNOWN_TYPE = 32,
    LOST_TYPE,
    PROGRAM_TYPE,
    USAGE_TYPE,
};

enum {
    UNKNOWN_FIELDS = 4,
    LOST_FIELDS = 2,
    PROGRAM_FIELDS = ID_COUNT + TEXT_COUNT + 2,
};

/* Makes an instance of the class at that place of `types`. It holds only ints, bytes,
 * and tuples that hold no more than text and such, so it can be in no cycle and the
 * collector need not look at it. */
static PyObject *make(struct filler *filler, Py_ssize_t type, PyObject *arguments)
{
    PyTypeObject *class = (PyTypeObject *)PyTuple_GetItem(filler->types, type);
    PyObject *object;

    if (arguments == NULL)
        return NULL;
    object = filler->tuple_new(class, arguments, NULL);
    if (object != NULL)
        PyObject_GC_UnTrack(object);
    return object;
}

/* The text with that number; `at`, where its bytes are, is moved behind them. */
static PyObject *next_text(const struct program_header *header, size_t number, const uint8_t **at)
{
    const uint8_t *bytes = *at;
    size_t size = header->sizes[number];

    if (size == PROGRAM_ABSENT)
        return none();
    *at += size;
    return number == ARGV_TEXT ? make_argv(bytes, size) : text(bytes, size);
}

static PyObject *id(struct filler *filler, uint32_t value)
{
    return value == PROGRAM_UNKNOWN ? none() : filler_int(filler, value);
}

static PyObject *program_arguments(struct filler *filler, const struct procconn_event *event)
{
    static const char *const missing[PROGRAM_MISSING_COUNT] = {"", "later", "gone", "denied",
                                                               "busy"};
    const struct program_header *header = &event->program;
    unsigned reason = header->flags >> PROGRAM_MISSING_SHIFT & PROGRAM_MISSING_MASK;
    PyObject *fields = filler_fields(filler, PROGRAM_FIELDS);
    const uint8_t *at = event->tail;
    Py_ssize_t index = 0;

    if (fields == NULL)
        return NULL;
    for (size_t i = ARGV_TEXT; i < CGROUP_TEXT; i++)
        if (!put(fields, &index, next_text(header, i, &at)))
            return NULL;
    for (size_t i = 0; i < ID_COUNT; i++)
        if (!put(fields, &index, id(filler, header->ids[i])))
            return NULL;
    if (!put(fields, &index, next_text(header, CGROUP_TEXT, &at)) ||
        !put(fields, &index, PyBool_FromLong(header->flags & PROGRAM_CUT)) ||
        !put(fields, &index, PyUnicode_InternFromString(missing[reason])))
        return NULL;
    return filler->arguments[PROGRAM_FIELDS];
}

static PyObject *usage_arguments(struct filler *filler, const struct procconn_event *event)
{
    PyObject *fields = filler_fields(filler, USAGE_COUNT);
    Py_ssize_t index = 0;
    uint64_t value;

    if (fields == NULL)
        return NULL;
    for (size_t i = 0; i < USAGE_COUNT; i++) {
        memcpy(&value, event->tail + i * USAGE_VALUE_SIZE, sizeof value);
        if (!put(fields, &index,
                 value == USAGE_UNKNOWN ? none() : PyLong_FromUnsignedLongLong(value)))
            return NULL;
    }
    return filler->arguments[USAGE_COUNT];
}

static PyObject *make_tail(struct filler *filler, const struct procconn_event *event)
{
    if (event->tail == NULL)
        return none();
    if (event->what == PROCCONN_EXEC)
        return make(filler, PROGRAM_TYPE, program_arguments(filler, event));
    return make(filler, USAGE_TYPE, usage_arguments(filler, event));
}

/* Fills the fields in the order of the named types: the kind's own, then
 * timestamp_ns, cpu and the tail. Returns the argument tuple, borrowed. */
static PyObject *filler_arguments(struct filler *filler, const struct procconn_event *event)
{
    const struct procconn_kind *kind = event->kind;
    Py_ssize_t count =
        kind != NULL ? kind->words + kind->has_name + 2 + kind->has_tail : UNKNOWN_FIELDS;
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
    if (kind != NULL && kind->has_tail && !put(fields, &index, make_tail(filler, event)))
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
    if (status == PROCCONN_LOST)
        return make(filler, LOST_TYPE, lost_arguments(filler, event));
    return make(filler, event->kind != NULL ? event->bit : UNKNOWN_TYPE,
                filler_arguments(filler, event));
}

static enum procconn_status step(struct filler *filler, struct procconn_walk *walk,
                                 PyObject *events)
{
    struct procconn_event event;
    enum procconn_status status = procconn_next(walk, &event);
    PyObject *object;
    int failed;

    if (status != PROCCONN_EVENT && status != PROCCONN_LOST)
        return status;
    object = make_event(filler, &event, status);
    failed = object == NULL || PyList_Append(events, object) != 0;
    Py_XDECREF(object);
    if (failed) {
        walk->offset = walk->at; /* not delivered, so not passed */
        PyErr_Clear();           /* a MemoryError; the caller raises its own */
        return PROCCONN_NO_MEMORY;
    }
    return status;
}

int procconn_decode_one(struct procconn_walk *walk, void *events, void *types)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    struct filler filler;
    enum procconn_status status;

    filler_begin(&filler, types);
    status = step(&filler, walk, events);
    filler_end(&filler);
    PyGILState_Release(gil);
    return status;
}

/* While it grows, the list is hidden from the collector, which looks for cycles
 * every few hundred events made and would walk over all of it. */
int procconn_decode_all(struct procconn_walk *walk, void *events, void *types)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    struct filler filler;
    enum procconn_status status;

    filler_begin(&filler, types);
    PyObject_GC_UnTrack(events);
    do
        status = step(&filler, walk, events);
    while (status > PROCCONN_END);
    PyObject_GC_Track(events);
    filler_end(&filler);
    PyGILState_Release(gil);
    return status;
}
