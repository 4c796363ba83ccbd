/*
 * A stream: messages from the kernel and the library in one buffer of netlink messages, and the
 * descriptors that they come from. There are three roles:
 *
 * - The consumer, one at a time, reads or changes the subscription, from stream_enter to
 *   stream_leave. A second one is refused, and so is a forked child. Pending events, which are
 *   decoded and not yet taken, belong to the reader (python/reader.h).
 * - The receiver drains the socket: the consumer, or the receiving thread once it is started. It
 *   holds the lock while it uses the parts declared after the lock, except for what only the
 *   consumer changes, and for the subscription while the state is CHANGING. The lock is never held
 *   while waiting, unless the process has no other thread.
 * - Anyone may close, at any time: another thread, a Python signal handler, a finalizer that the GC
 *   runs while the consumer decodes. lifecycle.c has the states.
 *
 * Each part is written only by the file with its name, whose functions take the part; the view is
 * written wherever its values are known.
 */
#ifndef PROCCONN_STREAM_H
#define PROCCONN_STREAM_H

#include <pthread.h>

#include "netlink/events.h"
#include "netlink/subscription.h"
#include "stream/buffer.h"
#include "stream/drain.h"
#include "stream/failure.h"
#include "stream/heartbeat.h"
#include "stream/lifecycle.h"
#include "stream/loss.h"
#include "stream/pacing.h"
#include "stream/readiness.h"
#include "stream/trailers.h"
#include "system/system.h"

enum { LARGEST_MESSAGE = 65536 + EVENT_AT }; /* with a trailer: cn_msg.len is a u16 */

struct procconn_stream {
    struct procconn_view view; /* shared with Python */
    struct lifecycle life;

    pthread_mutex_t lock;              /* for everything below */
    struct procconn_settings settings; /* control.c changes the filter */
    struct event_socket events;
    struct subscription subscription;
    bool is_subscribed; /* or to be renewed; control.c */
    bool has_thread;    /* thread.c */
    struct readiness readiness;
    struct failure failure;
    struct heartbeat heartbeat;
    struct pacing pacing;
    struct loss loss;
    struct trailers trailers;
    struct buffer queue;   /* complete messages for the consumer */
    struct buffer staging; /* messages that wait for their trailers, before the queue */
    struct drain drain;
};

/* Functions return 0 or a negative errno unless they say otherwise; times are on
 * CLOCK_MONOTONIC. */

/* lifecycle.c: become the consumer. 0, -EBUSY, -ECANCELED if closed, or -ECHILD after a fork. */
int stream_enter(struct procconn_stream *stream, uint32_t activity);
void stream_leave(struct procconn_stream *stream);
void stream_drop_user(struct procconn_stream *stream);
void stream_drop_reference(struct procconn_stream *stream, int reference);

/* consumer.c, by the consumer. Wait for complete messages, of which the walk covers up to `most`
 * bytes; then consume some. -EMSGSIZE: the first has view.needed bytes. */
int stream_fill(struct procconn_stream *stream, int64_t deadline_ns, size_t most,
                struct procconn_walk *walk);
void stream_consume(struct procconn_stream *stream, size_t size);

/* consumer.c, by the consumer: move queued messages to the front once they start in the second
 * half, or earlier if the thread waits for space. */
void stream_compact(struct procconn_stream *stream);

/* consumer.c: update `ready` after readiness.has_pending changed. */
void stream_note_pending(struct procconn_stream *stream);

/* control.c, by the consumer: change the filter; NULL restores the previous one. */
int stream_change_filter(struct procconn_stream *stream, const struct procconn_filter *filter);

/* receive.c, by the receiver: wait as the pacing decides, then drain. Returns 0 also if the
 * deadline passed or nothing that passes the filter arrived; -EINTR; -ECANCELED if closed. A
 * deadline of 0 polls. stream_listen also checks liveness after a silence. */
int stream_receive(struct procconn_stream *stream, int64_t deadline_ns, size_t most);
int stream_listen(struct procconn_stream *stream, int64_t deadline_ns, size_t most);

/* From here on, call functions under the lock. drain.c: receive what is queued in the socket, up to
 * `most` bytes; with `waits`, wait for the first of it. Fails only if nothing was received; a
 * failure after that is returned by the next call. */
int stream_drain(struct procconn_stream *stream, size_t most, bool waits);

/* drain.c: whether the queue has space for one more message, with a Lost before and after it. */
bool stream_has_space(const struct procconn_stream *stream);

/* consumer.c: wake a thread that waits for space in the queue, if there is space. */
void stream_note_space(struct procconn_stream *stream);

/* drain.c: read the kernel's count of dropped datagrams. */
void stream_read_drops(struct procconn_stream *stream);

/* readiness.c: make `ready` readable if messages are queued, a failure is noted or, with
 * counts_pending, events are pending; otherwise not readable. */
void stream_update_ready(struct procconn_stream *stream, bool counts_pending);

#endif
