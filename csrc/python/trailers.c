/* Create the named tuples of trailers: Program and Usage. */
#include "python/limited.h"

#include <errno.h>
#include <stdlib.h>

#include "proc/process.h"
#include "python/filler.h"

enum { PROGRAM_FIELDS = ID_COUNT + TEXT_COUNT + 2 };

/* Create the text with that number from the bytes at *at, and move *at past them. */
static PyObject *next_text(struct filler *filler, const struct program_header *header,
                           size_t number, const uint8_t **at)
{
    const uint8_t *bytes = *at;
    size_t size = header->sizes[number];

    if (size == PROGRAM_ABSENT)
        return none();
    *at += size;
    return number == ARGV_TEXT ? make_argv(filler, bytes, size) : text(bytes, size);
}

static PyObject *id(struct filler *filler, uint32_t value)
{
    return value == PROGRAM_UNKNOWN ? none() : filler_int(filler, value);
}

/* `at`: the texts, after the header. */
static PyObject *program_arguments(struct filler *filler, const struct program_header *header,
                                   const uint8_t *at)
{
    static const char *const missing[PROGRAM_MISSING_COUNT] = {
        "", "later", "gone", "denied", "busy", "held", "changed", "late", "limit"};
    unsigned reason = header->flags >> PROGRAM_MISSING_SHIFT & PROGRAM_MISSING_MASK;
    PyObject *fields = filler_fields(filler, PROGRAM_FIELDS);
    Py_ssize_t index = 0;

    if (fields == NULL)
        return NULL;
    for (size_t i = ARGV_TEXT; i < CGROUP_TEXT; i++)
        if (!put(fields, &index, next_text(filler, header, i, &at)))
            return NULL;
    for (size_t i = 0; i < ID_COUNT; i++)
        if (!put(fields, &index, id(filler, header->ids[i])))
            return NULL;
    if (!put(fields, &index, next_text(filler, header, CGROUP_TEXT, &at)) ||
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
        memcpy(&value, event->trailer + i * USAGE_VALUE_SIZE, sizeof value);
        if (!put(fields, &index,
                 value == USAGE_UNKNOWN ? none() : PyLong_FromUnsignedLongLong(value)))
            return NULL;
    }
    return filler->arguments[USAGE_COUNT];
}

PyObject *procconn_make_trailer(struct filler *filler, const struct procconn_event *event)
{
    if (event->trailer == NULL)
        return none();
    if (event->what == PROCCONN_EXEC)
        return filler_make(filler, PROGRAM_TYPE,
                           program_arguments(filler, &event->program, event->trailer));
    return filler_make(filler, USAGE_TYPE, usage_arguments(filler, event));
}

/* Append the program of a trailer written by procconn_read_running. */
static int append_program(PyObject *programs, PyTypeObject *class, const uint8_t *trailer)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    struct program_header header;
    struct filler filler;
    PyObject *program;
    int status = 0;

    memcpy(&header, trailer, sizeof header);
    filler_begin(&filler, NULL);
    program = filler_instance(&filler, class,
                              program_arguments(&filler, &header, trailer + sizeof header));
    if (program == NULL || PyList_Append(programs, program) != 0) {
        PyErr_Clear();
        status = -ENOMEM;
    }
    Py_XDECREF(program);
    filler_end(&filler);
    PyGILState_Release(gil);
    return status;
}

int procconn_read_program(uint32_t pid, void *class, void *programs)
{
    uint8_t *trailer = malloc(PROCCONN_TRAILER_CAPACITY);
    struct procconn_reading reading;
    int status;

    if (trailer == NULL)
        return -ENOMEM;
    procconn_read_running(pid, trailer, &reading);
    if (reading.missing == PROCCONN_LIMIT)
        status = -reading.error;
    else if (reading.missing == PROCCONN_GONE && !reading.is_there)
        status = -ESRCH;
    else
        status = append_program(programs, class, trailer);
    free(trailer);
    return status;
}
