/*
 * Readiness: the descriptors that others wait on, and when they are readable.
 *
 *   wake       eventfd; readable once the stream is closed
 *   ready      eventfd; readable while the consumer has messages or a failure to read
 *   space      eventfd; readable when a full queue has space again, for the receiving thread
 *   pollables  epoll sets over wake, ready and, without a receiving thread, the event socket:
 *              one for fileno(), one for asyncio
 */
#ifndef PROCCONN_READINESS_H
#define PROCCONN_READINESS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

enum {
    POLLABLES = 2,
    FOR_FILENO = 0, /* its index; the other one is asyncio's */
};

struct readiness {
    int wake, ready, space; /* -1 until they are needed */
    int pollables[POLLABLES];
    bool is_ready;    /* `ready` is readable */
    bool wants_space; /* the receiving thread waits for `space` */

    _Atomic bool has_pending; /* the reader has decoded events that are not taken yet */
    _Atomic bool is_polled;   /* the pollable of fileno() exists */
};

void readiness_init(struct readiness *readiness);

/* Create `wake`; create what a receiving thread needs. Return 0 or a negative errno. */
int readiness_open(struct readiness *readiness);
int readiness_open_thread(struct readiness *readiness);

/* Remove the event socket from the pollables: a thread receives from now on. */
void readiness_unwatch(const struct readiness *readiness, int socket);

/* Make `wake` readable permanently. */
void readiness_wake(struct readiness *readiness);

/* Return the pollable with this index, created at the first call, or a negative errno. `socket` is
 * -1 if a thread receives. */
int readiness_pollable(struct readiness *readiness, size_t index, int socket);

/* Make `ready` readable or not, if it exists. Returns 0 or a negative errno. */
int readiness_set(struct readiness *readiness, bool is_ready);

/* Note whether the receiving thread waits for space; wake it for some; reset `space` after that. */
void readiness_want_space(struct readiness *readiness, bool wants_space);
void readiness_note_space(struct readiness *readiness);
int readiness_clear_space(struct readiness *readiness);

/* Close everything except what may still be polled: the pollable of fileno() reports the close
 * through `wake`. Those are closed with the memory. */
void readiness_close(struct readiness *readiness);
void readiness_close_pollables(struct readiness *readiness);

/* Called by the reader each time it adds or takes events. */
static inline void readiness_note_pending(struct readiness *readiness, bool has_pending)
{
    if (atomic_load_explicit(&readiness->has_pending, memory_order_relaxed) != has_pending)
        atomic_store(&readiness->has_pending, has_pending);
}

#endif
