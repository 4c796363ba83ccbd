/* The users of a stream, its descriptors and its memory; lifecycle.c has the table of states. */
#ifndef PROCCONN_LIFECYCLE_H
#define PROCCONN_LIFECYCLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

enum { IDLE = 0, READING = 1, CHANGING = 2, CLOSED = 4 };

enum { REFERENCE = 1, REFERENCE_OF_THREAD = 1 << 16 };

struct lifecycle {
    _Atomic uint32_t state;     /* IDLE, or the consumer's activity; and CLOSED */
    _Atomic int users;          /* of the descriptors */
    _Atomic int references;     /* to the memory: Python's objects, the thread */
    _Atomic bool is_held;       /* a waiter on a pollable counts as a user */
    const uint32_t *owner_mark; /* 1, but 0 in a forked child; NULL before Linux 4.14 */
    pid_t owner;
};

static inline bool lifecycle_is_closed(const struct lifecycle *life)
{
    return (atomic_load(&life->state) & CLOSED) != 0;
}

static inline bool lifecycle_is_changing(const struct lifecycle *life)
{
    return (atomic_load(&life->state) & CHANGING) != 0;
}

/* False in a forked child. */
static inline bool lifecycle_is_owner(const struct lifecycle *life)
{
    return life->owner_mark != NULL ? *life->owner_mark != 0 : getpid() == life->owner;
}

/* Add a thread before it is started; remove it if it could not be started. */
void lifecycle_add_thread(struct lifecycle *life);
void lifecycle_remove_thread(struct lifecycle *life);

/* Add a reference of a Python object. */
void lifecycle_add_reference(struct lifecycle *life);

#endif
