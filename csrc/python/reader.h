/*
 * The reader of a stream, the only owner of its pending events. All events are handed out from
 * here, in one C call, so if a signal handler raises, each event is either pending or delivered.
 *
 * - Python code, including signal handlers, runs only after stream_leave, so a handler may read
 *   from the stream or close it. All state is read again after it.
 * - Finalizers, and other threads while the GIL is released, may take pending events at any time.
 *   Only the consumer of the stream adds events, so they are in stream order.
 * - The connector owns the reader; the reader does not refer to the connector.
 */
#ifndef PROCCONN_READER_H
#define PROCCONN_READER_H

#include "python/limited.h"

#include "python/pending.h"
#include "stream/stream.h"

/* A function in a type slot: POSIX allows the pointer conversion, ISO C does not. */
#define SLOT(slot, function)                                                                       \
    {                                                                                              \
        slot, __extension__(void *)(function)                                                      \
    }

struct reader {
    PyObject_HEAD
    struct procconn_stream *stream; /* a reference to its memory */
    PyObject *classes;              /* as for procconn_decode */
    PyObject *handle_status;        /* called with a status: handles it, or raises */
    PyObject *iterator_type;
    bool has_warned; /* that programs are no longer read */
    struct pending pending;
};

/* A critical section for the pending events; the GIL suffices where there is one. */
#ifdef Py_GIL_DISABLED
#define BEGIN_ALONE(reader) Py_BEGIN_CRITICAL_SECTION(reader)
#define END_ALONE() Py_END_CRITICAL_SECTION()
#else
#define BEGIN_ALONE(reader) {
#define END_ALONE() }
#endif

/* Whether the deadline has passed; a negative one never does. */
static inline bool procconn_is_over(int64_t deadline_ns)
{
    return deadline_ns >= 0 && procconn_now_ns() >= deadline_ns;
}

/* All but reader_refilter need the GIL, and release it while they wait. Statuses are 0 or a
 * negative errno. */

bool reader_has_pending(struct reader *reader);
size_t reader_length(struct reader *reader);

/* Take the first pending event; NULL, without an exception, if there is none. */
PyObject *reader_pop(struct reader *reader);

/* Take all pending events as a list. Returns NULL if there are none or, with an exception, if out
 * of memory. */
PyObject *reader_take(struct reader *reader);

enum { READER_BATCH = 262144 }; /* bytes: enough to make a call cheap, and within CPU caches */

/* Decode up to `most` bytes of messages. Waits for messages unless events are pending already.
 * Returns 0 also if the deadline passed. */
int reader_fill(struct reader *reader, int64_t deadline_ns, size_t most);

/* Wait for messages and let the walk cover up to `most` bytes of them; none after a failure or if
 * the deadline passed. Otherwise call reader_end after the walk: it consumes `size` bytes. No other
 * reader can interleave in between. */
int reader_begin(struct reader *reader, int64_t deadline_ns, size_t most, bool decodes,
                 struct procconn_walk *walk);
void reader_end(struct reader *reader, size_t size);

/* Return whether to warn that programs are no longer read; warn, once. reader_warn returns false,
 * with an exception, if warnings are errors. */
bool reader_has_warning(const struct reader *reader);
bool reader_warn(struct reader *reader);

/* Handle a status: call handle_status, warn, run signal handlers. Returns false, with an exception,
 * if the caller has to stop. */
bool reader_handle_status(struct reader *reader, int status);

/* Drop pending events that no longer match the filter. Call it after changing the filter. Acquires
 * the GIL. */
void reader_refilter(struct reader *reader);

/* iterators.c */
PyObject *procconn_make_iterator_type(void);
PyObject *procconn_iterate_events(PyObject *reader, PyObject *arguments);
PyObject *procconn_iterate_lists(PyObject *reader, PyObject *arguments);
PyObject *procconn_iterate_pending_events(PyObject *reader, PyObject *unused);
PyObject *procconn_iterate_pending_lists(PyObject *reader, PyObject *unused);
PyObject *procconn_iterate_raw(PyObject *reader, PyObject *arguments);
PyObject *procconn_iterate_into(PyObject *reader, PyObject *arguments);

#endif
