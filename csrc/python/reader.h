/*
 * The reader of a stream: the only owner of what is pending. Everything that hands out
 * events takes them from here, in one C call, so a signal handler that raises
 * finds each event either pending or delivered.
 *
 * - Python code, and with it signal handlers, runs only after the stream was left: so a handler
 *   may read or close. After it all state is read again.
 * - Finalizers, and other threads while the GIL is released, may take pending events at any
 *   time. Only who has entered the stream adds some, so their order is the stream's.
 * - The connector owns the reader; the reader does not refer to the connector.
 */
#ifndef PROCCONN_READER_H
#define PROCCONN_READER_H

#include "python/limited.h"

#include "python/pending.h"
#include "stream/stream.h"

/* A function in a slot of a type: POSIX allows the conversion, ISO C has none. */
#define SLOT(slot, function)                                                                       \
    {                                                                                              \
        slot, __extension__(void *)(function)                                                      \
    }

struct reader {
    PyObject_HEAD
    struct procconn_stream *stream; /* a reference to its memory */
    PyObject *classes;              /* as procconn_decode takes them */
    PyObject *handle_status;        /* called with a status: repairs what it means, or raises */
    PyObject *iterator_type;
    bool has_warned; /* that programs are not read any more */
    struct pending pending;
};

/* Alone with what is pending: the GIL sees to it where there is one. */
#ifdef Py_GIL_DISABLED
#define BEGIN_ALONE(reader) Py_BEGIN_CRITICAL_SECTION(reader)
#define END_ALONE() Py_END_CRITICAL_SECTION()
#else
#define BEGIN_ALONE(reader) {
#define END_ALONE() }
#endif

/* Whether the deadline is over; a negative one never is. */
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

/* Take all pending events as a list; NULL if there are none, or, with an exception, without
 * memory. */
PyObject *reader_take(struct reader *reader);

enum { READER_BATCH = 262144 }; /* bytes: enough to make a call cheap, and fits caches */

/* Wait until something is pending, then decode up to `most` bytes of messages. If there is
 * something pending already, do not wait, but decode what there is. Returns 0 also if the
 * deadline passed. */
int reader_fill(struct reader *reader, int64_t deadline_ns, size_t most);

/* Wait for messages, of which the walk covers up to `most` bytes. It covers none if that
 * failed or the deadline passed. Else end after the walk: those `size` bytes are taken,
 * and nobody else can read between. */
int reader_begin(struct reader *reader, int64_t deadline_ns, size_t most, bool decodes,
                 struct procconn_walk *walk);
void reader_end(struct reader *reader, size_t size);

/* Whether to warn that programs are not read any more; do so, once. Returns false, with an
 * exception, if warnings are errors. */
bool reader_has_warning(const struct reader *reader);
bool reader_warn(struct reader *reader);

/* Act on a status: repair, warn, run signal handlers. False, with an exception, if the
 * caller has to stop. */
bool reader_handle_status(struct reader *reader, int status);

/* Drop pending events that the filter no longer matches. Called after a change of it; takes
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
