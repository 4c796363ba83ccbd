/*
 * Pacing: when the receiver wakes, drains the socket, and delivers.
 *
 * After a silence the first event ends the wait. From then on there is at most one wake-up in
 * latency_ns (max_latency), which drains the socket and delivers everything that is complete. An
 * event that waits for its program is staged, and so are the events after it. It can be complete at
 * due_ns, and is then delivered within latency_ns. So an event is delayed at most by its wait for
 * validation and latency_ns together.
 *
 * There is no pacing with a deadline of 0, a socket that may be half full, or a staging buffer that
 * is half full. A latency of 0 disables pacing.
 *
 * This code makes no system calls and needs no socket: tests call it with plain numbers.
 * csrc/build.py declares it for them. Times are on CLOCK_MONOTONIC.
 */
#ifndef PROCCONN_PACING_H
#define PROCCONN_PACING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The result of one drain. */
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
    int64_t min_fill_ns;    /* the shortest time in which an empty socket gets half full */
    int64_t last_wakeup_ns; /* the last wake-up that delivered anything */
    int64_t fill_check_ns;  /* the socket cannot be half full before then */
    bool is_half_full;
    struct pacing_drain last;
};

enum pacing_action {
    PACING_DRAIN = 0,      /* at once */
    PACING_AWAIT = 1,      /* wait for an event, until until_ns; then drain if there is one */
    PACING_SLEEP = 2,      /* sleep until until_ns, whatever arrives; then call again */
    PACING_CHECK_FILL = 3, /* read how full the socket is, note it, and call again */
};

struct pacing_step {
    enum pacing_action action;
    int64_t until_ns; /* -1: forever */
};

/* latency_ns: the shortest time between two wake-ups; min_fill_ns as above. */
void pacing_begin(struct pacing *pacing, int64_t latency_ns, int64_t min_fill_ns);

/* Return whether a drain that begins at now_ns delivers complete messages. It only stages if the
 * drain before left datagrams in the socket and the first staged event is not due, however many
 * such drains follow each other. */
bool pacing_delivers(const struct pacing *pacing, int64_t now_ns);

void pacing_note_drain(struct pacing *pacing, const struct pacing_drain *drain);
void pacing_note_fill(struct pacing *pacing, int64_t now_ns, bool is_half_full);

/* Return what the receiver does next, having begun to wait at since_ns. deadline_ns: when it must
 * return; 0 polls, -1: never. */
struct pacing_step pacing_next(const struct pacing *pacing, int64_t since_ns, int64_t now_ns,
                               int64_t deadline_ns);

#endif
