/*
 * Fills the named tuples. The only file that knows Python.
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

#include <errno.h>

#include "stream.h"

enum {
    UNKNOWN_TYPE = 32, /* in `types`, behind those of the 32 bits */
    LOST_TYPE,
    LOST_FIELDS = 2,
    MAX_FIELDS = 8,
    CACHED_INTS = 64, /* a power of two */
};

/* Numbers come again within a batch: a pid is its tgid, and a fork's child
 * soon execs and exits. Sharing the object saves making one. */
struct cached_int {
    uint32_t value;
    PyObject *object;
};

struct filler {
    PyObject *types;
    newfunc tuple_new;
    PyObject *arguments[MAX_FIELDS + 1]; /* by number of fields: ((field, …),) */
    PyObject *fields[MAX_FIELDS + 1];    /* borrowed: the inner tuple of those */
    struct cached_int ints[CACHED_INTS];
    PyObject *name; /* the last one, which threads of a pool have in common */
    uint8_t name_bytes[COMM_NAME_SIZE];
};

static void filler_begin(struct filler *filler, PyObject *types)
{
    void *tuple_new = PyType_GetSlot(&PyTuple_Type, Py_tp_new);

    memset(filler, 0, sizeof *filler);
    filler->types = types;
    memcpy(&filler->tuple_new, &tuple_new, sizeof tuple_new); /* ISO C has no cast */
}

static void filler_end(struct filler *filler)
{
    for (size_t i = 0; i <= MAX_FIELDS; i++)
        Py_XDECREF(filler->arguments[i]);
    for (size_t i = 0; i < CACHED_INTS; i++)
        Py_XDECREF(filler->ints[i].object);
    Py_XDECREF(filler->name);
}

/* A tuple of `count` empty fields within the reused argument tuple, or NULL.
 * Both are hidden from the cyclic collector, so nobody else can reach them
 * while they change. */
static PyObject *filler_fields(struct filler *filler, Py_ssize_t count)
{
    PyObject *fields, *arguments;

    if (filler->fields[count] != NULL)
        return filler->fields[count];
    fields = PyTuple_New(count);
    if (fields == NULL)
        return NULL;
    arguments = PyTuple_New(1);
    if (arguments == NULL) {
        Py_DECREF(fields);
        return NULL;
    }
    PyObject_GC_UnTrack(fields);
    PyObject_GC_UnTrack(arguments);
    PyTuple_SetItem(arguments, 0, fields);
    filler->arguments[count] = arguments;
    filler->fields[count] = fields;
    return fields;
}

static PyObject *filler_int(struct filler *filler, uint32_t value)
{
    struct cached_int *cached = &filler->ints[value % CACHED_INTS];
    PyObject *object;

    if (cached->object != NULL && cached->value == value) {
        Py_INCREF(cached->object);
        return cached->object;
    }
    object = PyLong_FromUnsignedLong(value);
    if (object != NULL) {
        Py_XDECREF(cached->object);
        Py_INCREF(object);
        cached->object = object;
        cached->value = value;
    }
    return object;
}

static PyObject *filler_name(struct filler *filler, const uint8_t *bytes)
{
    const char *text = (const char *)bytes;
    PyObject *name;

    if (filler->name == NULL || memcmp(filler->name_bytes, bytes, COMM_NAME_SIZE) != 0) {
        name = PyBytes_FromStringAndSize(text, (Py_ssize_t)strnlen(text, COMM_NAME_SIZE));
        if (name == NULL)
            return NULL;
        Py_XDECREF(filler->name);
        filler->name = name;
        memcpy(filler->name_bytes, bytes, COMM_NAME_SIZE);
    }
    Py_INCREF(filler->name);
    return filler->name;
}

/* Puts `object` (stolen) into the next field; false if there is no object. */
static bool put(PyObject *fields, Py_ssize_t *index, PyObject *object)
{
    return object != NULL && PyTuple_SetItem(fields, (*index)++, object) == 0;
}

/* Fills the fields in the order of the named types: the kind's own, then
 * timestamp_ns and cpu. Returns the argument tuple, borrowed. */
static PyObject *filler_arguments(struct filler *filler, const struct procconn_event *event)
{
    const struct procconn_kind *kind = event->kind;
    Py_ssize_t count = kind != NULL ? kind->words + kind->has_name + 2 : 4;
    PyObject *fields = filler_fields(filler, count);
    Py_ssize_t index = 0;

    if (fields == NULL)
        return NULL;
    if (kind == NULL) {
        if (!put(fields, &index, filler_int(filler, event->what)) ||
            !put(fields, &index,
                 PyBytes_FromStringAndSize((const char *)event->data,
                                           (Py_ssize_t)event->data_size)))
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

/* Makes an instance of the class at that place of `types`. It holds only ints and
 * bytes, so it can be in no cycle and the collector need not look at it. */
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

int procconn_read(struct procconn_stream *stream, int64_t deadline_ns, size_t most)
{
    struct procconn_window *window = &stream->window;
    struct procconn_walk walk = {0};
    int status = procconn_enter(stream, READING);

    if (status < 0)
        return status;
    status = procconn_bring(stream, deadline_ns, most);
    if (status == 0 && window->size > 0) {
        walk.buffer = window->bytes;
        walk.size = window->size;
        if (procconn_decode_all(&walk, stream->settings.events, stream->settings.types) < 0)
            status = -ENOMEM; /* nothing else: all messages in the stream are whole */
        procconn_take(stream, walk.offset, walk.offset > 0);
    }
    procconn_leave(stream);
    return status;
}
