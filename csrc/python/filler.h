/*
 * The state of one pass over a buffer: caches of ints, names and arguments that repeat, and the
 * argument tuples that are reused.
 */
#ifndef PROCCONN_FILLER_H
#define PROCCONN_FILLER_H

#include "python/limited.h"

#include "wire/decode.h"

/* Indexes in `types`, after those of the 32 bits. */
enum {
    UNKNOWN_TYPE = 32,
    LOST_TYPE,
    PROGRAM_TYPE,
    USAGE_TYPE,
};

enum {
    MAX_FIELDS = 13,
    CACHED_INTS = 64, /* a power of two */
    CACHED_ARGUMENTS = 64,
};

/* Numbers repeat within a batch: a PID is its TGID, and a forked child soon execs and exits.
 * Sharing the object saves creating one. */
struct cached_int {
    uint32_t value;
    PyObject *object;
};

/* Short arguments repeat as well, and one command can have 24,576 of them: an object for each would
 * take 40 times the memory of their bytes. */
struct cached_argument {
    uint64_t bytes; /* the last byte is their number */
    PyObject *object;
};

struct filler {
    PyObject *types;
    newfunc tuple_new;
    PyObject *arguments[MAX_FIELDS + 1]; /* by number of fields: ((field, …),) */
    struct cached_int ints[CACHED_INTS];
    struct cached_argument cached[CACHED_ARGUMENTS];
    PyObject *name; /* the most recent one, which the threads of a pool share */
    uint8_t name_bytes[COMM_NAME_SIZE];
};

static inline void filler_begin(struct filler *filler, PyObject *types)
{
    void *tuple_new = PyType_GetSlot(&PyTuple_Type, Py_tp_new);

    memset(filler, 0, sizeof *filler);
    filler->types = types;
    memcpy(&filler->tuple_new, &tuple_new, sizeof tuple_new); /* ISO C allows no cast */
}

static inline void filler_end(struct filler *filler)
{
    for (size_t i = 0; i <= MAX_FIELDS; i++)
        Py_XDECREF(filler->arguments[i]);
    for (size_t i = 0; i < CACHED_INTS; i++)
        Py_XDECREF(filler->ints[i].object);
    for (size_t i = 0; i < CACHED_ARGUMENTS; i++)
        Py_XDECREF(filler->cached[i].object);
    Py_XDECREF(filler->name);
}

/* Return a tuple of `count` empty fields inside the reused argument tuple, or NULL. The GC tracks
 * neither, so no other code can reach them while they change. */
static inline PyObject *filler_fields(struct filler *filler, Py_ssize_t count)
{
    PyObject **arguments = &filler->arguments[count], *fields;

    if (*arguments != NULL)
        return PyTuple_GetItem(*arguments, 0);
    fields = PyTuple_New(count);
    *arguments = fields != NULL ? PyTuple_Pack(1, fields) : NULL;
    Py_XDECREF(fields);
    if (*arguments == NULL)
        return NULL;
    PyObject_GC_UnTrack(fields);
    PyObject_GC_UnTrack(*arguments);
    return fields;
}

/* Create an instance of a class. It contains only ints, bytes, text and tuples of those, so it is
 * in no reference cycle, and the GC need not track it. */
static inline PyObject *filler_instance(struct filler *filler, PyTypeObject *class,
                                        PyObject *arguments)
{
    PyObject *object;

    if (arguments == NULL)
        return NULL;
    object = filler->tuple_new(class, arguments, NULL);
    if (object != NULL)
        PyObject_GC_UnTrack(object);
    return object;
}

/* Create an instance of the class at that index of `types`. */
static inline PyObject *filler_make(struct filler *filler, Py_ssize_t type, PyObject *arguments)
{
    return filler_instance(filler, (PyTypeObject *)PyTuple_GetItem(filler->types, type), arguments);
}

static inline PyObject *filler_int(struct filler *filler, uint32_t value)
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

static inline PyObject *filler_name(struct filler *filler, const uint8_t *bytes)
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

/* Store `object` in the next field, stealing the reference. Returns false if it is NULL. */
static inline bool put(PyObject *fields, Py_ssize_t *index, PyObject *object)
{
    return object != NULL && PyTuple_SetItem(fields, (*index)++, object) == 0;
}

/* Decode like os.fsdecode(). */
static inline PyObject *text(const uint8_t *bytes, size_t size)
{
    return PyUnicode_DecodeFSDefaultAndSize((const char *)bytes, (Py_ssize_t)size);
}

static inline PyObject *filler_argument(struct filler *filler, const uint8_t *bytes, size_t size)
{
    uint8_t key[sizeof(uint64_t)] = {[sizeof(uint64_t) - 1] = (uint8_t)size};
    struct cached_argument *cached;
    PyObject *object;
    uint64_t value;

    if (size >= sizeof key)
        return text(bytes, size);
    memcpy(key, bytes, size);
    memcpy(&value, key, sizeof value);
    cached = &filler->cached[value * 0x9E3779B97F4A7C15 >> 58]; /* Fibonacci hashing */
    if (cached->object == NULL || cached->bytes != value) {
        object = text(bytes, size);
        if (object == NULL)
            return NULL;
        Py_XDECREF(cached->object);
        cached->object = object;
        cached->bytes = value;
    }
    Py_INCREF(cached->object);
    return cached->object;
}

/* Split the bytes at their NULs. If they change meanwhile, the arguments are wrong, but nothing
 * outside of the bytes is read. */
static inline PyObject *make_argv(struct filler *filler, const uint8_t *bytes, size_t size)
{
    const uint8_t *end = bytes + size, *nul;
    PyObject *argv, *argument;
    Py_ssize_t count = size > 0 && end[-1] != 0;

    for (const uint8_t *at = bytes; at < end; at++)
        count += *at == 0;
    argv = PyTuple_New(count);
    if (argv == NULL)
        return NULL;
    for (Py_ssize_t i = 0; i < count; i++) {
        nul = memchr(bytes, 0, (size_t)(end - bytes));
        argument = filler_argument(filler, bytes, (size_t)((nul != NULL ? nul : end) - bytes));
        if (argument == NULL) {
            Py_DECREF(argv);
            return NULL;
        }
        PyTuple_SetItem(argv, i, argument);
        bytes = nul != NULL ? nul + 1 : end;
    }
    PyObject_GC_UnTrack(argv);
    return argv;
}

static inline PyObject *none(void)
{
    Py_INCREF(Py_None);
    return Py_None;
}

/* tuples.c: take one step of a walk and create the event; NULL if there was none. If out of memory,
 * the walk stays before the event. */
enum procconn_status procconn_make_next(struct filler *filler, struct procconn_walk *walk,
                                        PyObject **object);

/* trailers.c: create the object of the event's trailer; None if it has none, NULL if out of
 * memory. */
PyObject *procconn_make_trailer(struct filler *filler, const struct procconn_event *event);

#endif
