/*
 * Pacing: when the receiver wakes, drains the socket, and delivers.
 *
 * After a silence the first event ends the wait. From then on there is at most one wake-up in
 * latency_ns (max_latency), which drains the socket and delivers everything that is complete.
 * An event that waits for its program is staged, and so is what follows it; it can be complete
 * at due_ns, and is then delivered within latency_ns. So nothing is older, when it is delivered,
 * than the wait for its proof and latency_ns together.
 *
 * Not paced are a deadline of 0, a socket that may be half full, and a staging buffer that is
 * half full. A latency of 0 paces nothing.
 *
 * No system call is made here, and none of this needs a socket: it is tested with numbers.
 * csrc/build.py gives these declarations to Python's tests. Times are on CLOCK_MONOTONIC.
 */
#ifndef PROCCONN_PACING_H
#define PROCCONN_PACING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What one drain found and left. */
struct pacing_drain {
    int64_t began_ns;
    bool has_emptied;   /* the socket */
    bool has_delivered; /* anything */
    bool has_space;     /* left in the buffer, for another drain */
    size_t staged;      /* bytes */
    size_t staging_size;
    int64_t due_ns; /* when the first staged event can be complete; 0: none is staged, or
                     * the queue was full */
};

struct pacing {
    int64_t latency_ns;
    int64_t min_fill_ns;    /* an empty socket is not half full any earlier */
    int64_t last_wakeup_ns; /* that delivered anything */
    int64_t fill_check_ns;  /* the socket is not half full any earlier */
    bool is_half_full;
    struct pacing_drain last;
};

enum pacing_action {
    PACING_DRAIN = 0,      /* at once */
    PACING_AWAIT = 1,      /* wait for an event, until until_ns; then drain if there is one */
    PACING_SLEEP = 2,      /* sleep until until_ns, whatever comes; then ask again */
    PACING_CHECK_FILL = 3, /* look how full the socket is, note it, and ask again */
};

struct pacing_step {
    enum pacing_action action;
    int64_t until_ns; /* -1: for ever */
};

/* latency_ns: the shortest time between two wake-ups; min_fill_ns as above. */
void pacing_begin(struct pacing *pacing, int64_t latency_ns, int64_t min_fill_ns);

/* Whether a drain that begins at now_ns looks for what is complete. Not if the drain before left
 * some in the socket and what is staged first is not due: however many follow each other so,
 * they only stage. */
bool pacing_delivers(const struct pacing *pacing, int64_t now_ns);

void pacing_note_drain(struct pacing *pacing, const struct pacing_drain *drain);
void pacing_note_fill(struct pacing *pacing, int64_t now_ns, bool is_half_full);

/* What the receiver does next, after it began to wait at since_ns. deadline_ns: when it has
 * to be back; 0 polls, -1: never. */
struct pacing_step pacing_next(const struct pacing *pacing, int64_t since_ns, int64_t now_ns,
                               int64_t deadline_ns);

#endif
