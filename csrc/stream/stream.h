/*
 * The stream: what the kernel sent and the library added, in one buffer, and the
 * descriptors it comes from. Who may do what:
 *
 * - The consumer, one at a time, reads or changes the subscription. Between enter and
 *   leave it is the only one; a second one is refused, as is a forked child. Events that
 *   are decoded and not taken are the reader's (reader.h).
 * - The receiver drains the socket: the consumer, or a thread of ours once there
 *   is a queue. The lock is held while anything below "under the lock" is touched,
 *   and never while waiting, unless the process has no other thread.
 * - Anyone may close, at any time: from another thread, from a signal handler of
 *   Python, from a finalizer that the collector runs while the consumer decodes.
 *   Closing takes the LISTEN back and wakes the others; the last one who uses the
 *   descriptors closes them, and the last one who holds the memory frees it.
 * - A forked child has a copy of the memory and of the descriptors. It may close
 *   them, which its parent does not notice; it touches neither the lock, which a
 *   thread of the parent may have held, nor the event counters, which are shared.
 */
#ifndef PROCCONN_STREAM_H
#define PROCCONN_STREAM_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h> /* struct mmsghdr */
#include <unistd.h>

#include "wire/decode.h"
#include "wire/filter.h"
#include "stream/loss.h"
#include "stream/pacing.h"
#include "system/system.h"

enum {
    /* A place holds any datagram whole: an event has 76 bytes. Those of one call
     * are apart by a little more, so that they do not compete for the same lines
     * of the cache. */
    PLACE_SIZE = 256,
    PLACE_DISTANCE = PLACE_SIZE + 64,

    LARGEST_MESSAGE = 65536 + EVENT_AT, /* with a tail: cn_msg.len is a u16 */

    BATCH = 32, /* datagrams that one call of the kernel brings */

    POLLABLES = 2, /* one for fileno(), one for asyncio */
    FOR_FILENO = 0,

    /* The shortest interval at which events were seen to come. With EVENT_CHARGE: how soon a
     * socket can be full. */
    EVENT_INTERVAL_NS = 500,
};

/* What one call of the kernel brings; made ready once. */
struct batch {
    struct mmsghdr headers[BATCH];
    struct iovec iovecs[BATCH];
    struct netlink_address senders[BATCH];
    uint8_t places[BATCH][PLACE_DISTANCE];
};

/* Whole messages: those from start to end wait. */
struct messages {
    uint8_t *bytes;
    size_t capacity, start, end;
    size_t peak; /* how far it was filled since it was last empty */
};

struct procconn_stream {
    struct procconn_window window; /* the consumer's */
    _Atomic bool has_pending;      /* the reader has decoded events */
    _Atomic bool is_polled;        /* the descriptor of fileno() was made */

    _Atomic uint32_t state;   /* CLOSED and what the consumer does */
    _Atomic int users;        /* of the descriptors */
    _Atomic bool held;        /* somebody who waits on a pollable is a user */
    _Atomic int references;   /* to the memory: of Python's objects, and of the thread */
    _Atomic int64_t heard_ns; /* when the last datagram was taken */
    const uint32_t *mark;     /* 1, but 0 in a forked child; NULL before Linux 4.14 */
    pid_t owner;
    struct procconn_settings settings;

    pthread_mutex_t lock; /* of all below */
    int socket;           /* in the multicast group */
    int requests;         /* the one that subscribed; -1 if there is none */
    _Atomic int owed;     /* LISTENs to be taken back */
    int wake;             /* readable when closed */
    int ready;            /* readable when something waits; -1 until somebody looks */
    int room;             /* readable when a full queue has room again */
    bool is_ready;
    bool wants_room;
    int pollables[POLLABLES];
    bool has_thread;
    bool subscribed; /* or to be renewed */
    int failure;     /* of a system call in the thread, or of one that is refused now */
    bool stale;      /* the thread's liveness check failed */

    struct messages queue; /* for the consumer */
    struct messages stage; /* before it, where messages get tails: waiting for theirs */
    struct procconn_programs *programs; /* NULL if they get none */
    struct procconn_usage *usage;       /* likewise */
    int64_t synced_until_ns; /* all events until then were drained, unless the receive waited */
    uint64_t lost_usage;     /* records, before the close */
    bool met_exit;           /* in the last drain */
    bool misses_exits;       /* some may have been lost, or were not wanted */

    bool refilters; /* until the socket is empty: the filter has changed */
    struct pacing pacing;
    struct loss loss;
    struct batch batch;
};

enum { IDLE = 0, READING = 1, CHANGING = 2, CLOSED = 4 };

enum { REFERENCE = 1, REFERENCE_OF_THREAD = 1 << 16 };

static inline bool procconn_is_closed(const struct procconn_stream *stream)
{
    return (atomic_load(&stream->state) & CLOSED) != 0;
}

/* Not a forked child. */
static inline bool procconn_is_owner(const struct procconn_stream *stream)
{
    return stream->mark != NULL ? *stream->mark != 0 : getpid() == stream->owner;
}

/* From here on, each file calls only those above it. 0 or a negative errno each; times
 * are on CLOCK_MONOTONIC. */

/* queue.c. All but the last under the lock */
int procconn_resize(struct messages *messages, size_t capacity);
void procconn_begin_anew(struct messages *messages);             /* if empty */
struct messages *procconn_inlet(struct procconn_stream *stream); /* where new ones go */
size_t procconn_space(struct procconn_stream *stream);
bool procconn_has_room(struct procconn_stream *stream);
void procconn_set_ready(struct procconn_stream *stream, bool ready);
/* Whether there is something to be had or reported. */
bool procconn_waits(const struct procconn_stream *stream);
void procconn_consume(struct procconn_stream *stream, size_t size);
void procconn_tidy(struct procconn_stream *stream);

/* tails/attach.c: from the stage to the queue, with tails. Under the lock */
int procconn_open_attachments(struct procconn_stream *stream, size_t drain_size);
/* Where there are no events, this would work all the same and nothing come of it. */
void procconn_open_usage(struct procconn_stream *stream);
void procconn_close_attachments(struct procconn_stream *stream);
/* Returns when the first message that stays staged can have its tail; 0 if none stays, or if
 * the queue has no space. has_emptied: whether the last drain emptied the socket. */
int64_t procconn_finish(struct procconn_stream *stream, bool has_emptied);

/* drain.c: from the socket to the inlet. Under the lock */
void procconn_prepare(struct batch *batch);
int procconn_drain(struct procconn_stream *stream, size_t most, bool waits);
void procconn_ask_drops(struct procconn_stream *stream);

/* socket.c: the event socket */
int procconn_open_socket(struct procconn_stream *stream);

/* liveness.c. 0 if the subscription lives or cannot be checked, -ENOTCONN if it does not.
 * By whoever receives. */
int procconn_check_liveness(struct procconn_stream *stream);

/* receive.c: wait, drain, and check liveness after a silence. Called by the receiver */
int procconn_receive(struct procconn_stream *stream, int64_t deadline_ns, size_t most);
int procconn_listen(struct procconn_stream *stream, int64_t deadline_ns, size_t most);

/* requests.c: asking the kernel */
int procconn_begin_listening(struct procconn_stream *stream, uint32_t nonce, int64_t timeout_ns);
void procconn_end_listening(struct procconn_stream *stream); /* under the lock */

/* life.c: opened, used by one consumer at a time, closed by anyone */

/* Become the consumer: 0, -EBUSY, -ECANCELED when closed, -ECHILD after a fork. */
int procconn_enter(struct procconn_stream *stream, uint32_t activity);
void procconn_leave(struct procconn_stream *stream);
void procconn_drop_user(struct procconn_stream *stream);
void procconn_drop_reference(struct procconn_stream *stream, int reference);

/* consumer.c. Wait for complete messages, of which the walk covers up to `most` bytes; then
 * take some. By who entered. -EMSGSIZE: the first has window.needed bytes. */
int procconn_bring(struct procconn_stream *stream, int64_t deadline_ns, size_t most,
                   struct procconn_walk *walk);
void procconn_take(struct procconn_stream *stream, size_t size);

/* pollable.c: after has_pending changed */
void procconn_update_ready(struct procconn_stream *stream);

/* change.c: let other events pass; NULL is those that did. By who entered. */
int procconn_change_filter(struct procconn_stream *stream, const struct procconn_filter *filter);

#endif
