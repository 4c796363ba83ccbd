/* Wait for messages, decode them, keep the pending events. */
#include "python/limited.h"

#include <errno.h>

#include "python/filler.h"
#include "python/reader.h"

/* Note in the stream whether events are pending, for the code that sets `ready`. */
static bool note_pending(struct reader *reader)
{
    bool has = pending_length(&reader->pending) > 0;

    readiness_note_pending(&reader->stream->readiness, has);
    return has;
}

bool reader_has_pending(struct reader *reader)
{
    return lifecycle_is_owner(&reader->stream->life) &&
           atomic_load(&reader->stream->readiness.has_pending);
}

size_t reader_length(struct reader *reader)
{
    size_t length = 0;

    if (!lifecycle_is_owner(&reader->stream->life)) /* they are the parent's */
        return 0;
    BEGIN_ALONE(reader);
    length = pending_length(&reader->pending);
    END_ALONE();
    return length;
}

/* Update `ready` after the last event was taken, before it is delivered. */
static void update_ready(struct reader *reader)
{
    PyThreadState *state;

    if (!atomic_load(&reader->stream->readiness.is_polled))
        return;
    state = PyEval_SaveThread(); /* the receiving thread may hold the lock for a while */
    stream_note_pending(reader->stream);
    PyEval_RestoreThread(state);
}

PyObject *reader_pop(struct reader *reader)
{
    PyObject *event;
    bool has;

    if (!lifecycle_is_owner(&reader->stream->life))
        return NULL;
    BEGIN_ALONE(reader);
    event = pending_pop(&reader->pending);
    has = note_pending(reader);
    END_ALONE();
    if (event != NULL && !has)
        update_ready(reader);
    return event;
}

PyObject *reader_take(struct reader *reader)
{
    PyObject *list = NULL;
    bool moved = false;
    size_t length;

    while (!moved) {
        Py_XDECREF(list);
        length = reader_length(reader);
        list = length > 0 ? PyList_New((Py_ssize_t)length) : NULL;
        if (list == NULL)
            return NULL;
        BEGIN_ALONE(reader);
        moved = pending_move(&reader->pending, list, length);
        note_pending(reader);
        END_ALONE();
    }
    update_ready(reader);
    return list;
}

int reader_begin(struct reader *reader, int64_t deadline_ns, size_t most, bool decodes,
                 struct procconn_walk *walk)
{
    struct procconn_stream *stream = reader->stream;
    PyThreadState *state = PyEval_SaveThread();
    int status = stream_enter(stream, READING);

    *walk = (struct procconn_walk){0};
    if (status == 0) {
        if (decodes && atomic_load(&stream->readiness.has_pending))
            deadline_ns = 0; /* no other thread can add events meanwhile */
        status = stream_fill(stream, deadline_ns, most, walk);
        if (status < 0 || walk->size == 0) {
            walk->size = 0;
            stream_consume(stream, 0);
            stream_leave(stream);
        }
    }
    PyEval_RestoreThread(state);
    return status;
}

void reader_end(struct reader *reader, size_t size)
{
    struct procconn_stream *stream = reader->stream;
    PyThreadState *state = NULL;

    if (stream->has_thread) /* which may hold the lock for a while */
        state = PyEval_SaveThread();
    stream_consume(stream, size);
    stream_leave(stream);
    if (state != NULL)
        PyEval_RestoreThread(state);
}

static bool push(struct reader *reader, PyObject *event)
{
    bool pushed;

    BEGIN_ALONE(reader);
    pushed = pending_push(&reader->pending, event);
    note_pending(reader);
    END_ALONE();
    return pushed;
}

/* Fails only if out of memory, as all messages in the stream are complete. The rest stays in the
 * stream then. */
static int decode(struct reader *reader, struct procconn_walk *walk)
{
    enum procconn_status status;
    struct filler filler;
    PyObject *event;

    filler_begin(&filler, reader->classes);
    do {
        status = procconn_make_next(&filler, walk, &event);
        if (event != NULL && !push(reader, event)) {
            Py_DECREF(event);
            walk->offset = walk->at;
            status = PROCCONN_NO_MEMORY;
        }
    } while (status > PROCCONN_END);
    filler_end(&filler);
    return status < 0 ? -ENOMEM : 0;
}

int reader_fill(struct reader *reader, int64_t deadline_ns, size_t most)
{
    struct procconn_walk walk;
    int status = reader_begin(reader, deadline_ns, most, true, &walk);

    if (walk.size == 0)
        return status;
    status = decode(reader, &walk);
    reader_end(reader, walk.offset);
    return status;
}

static bool call(struct reader *reader, int status)
{
    PyObject *handle_status = reader->handle_status, *result;

    if (handle_status == NULL) { /* the GC has cleared the reader */
        PyErr_SetString(PyExc_RuntimeError, "the connector no longer exists");
        return false;
    }
    Py_INCREF(handle_status);
    result = PyObject_CallFunction(handle_status, "i", status);
    Py_DECREF(handle_status);
    Py_XDECREF(result);
    return result != NULL;
}

bool reader_has_warning(const struct reader *reader)
{
    return !reader->has_warned && reader->stream->view.programs_error != 0;
}

bool reader_warn(struct reader *reader)
{
    if (!reader_has_warning(reader))
        return true;
    reader->has_warned = true;
    return call(reader, 0);
}

bool reader_handle_status(struct reader *reader, int status)
{
    if (status != 0 && status != -EINTR && !call(reader, status))
        return false;
    return reader_warn(reader) && PyErr_CheckSignals() == 0;
}

void reader_refilter(struct reader *reader)
{
    PyGILState_STATE gil = PyGILState_Ensure();

    BEGIN_ALONE(reader);
    pending_refilter(&reader->pending, &reader->stream->settings.filter, reader->classes);
    note_pending(reader);
    END_ALONE();
    PyGILState_Release(gil);
}
