/*
 * The event journal: changes of processes as the kernel reports them, which are forks, new IDs, new
 * names, tracers and exits. It has sockets of its own, as the stream's filter may mask these events
 * out; they are read together with the stream and never wake a thread. Names have a separate
 * socket: any process can cause a million COMM events a second, which must not push out the rest.
 *
 * Each slot keeps the last few changes of the processes whose PIDs have the same remainder. So a
 * process that changes all the time pushes out only changes of its own slot.
 */
#ifndef PROCCONN_JOURNAL_H
#define PROCCONN_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/wire.h"

enum {
    PROCESS_SLOTS = 4096,
    SLOT_CHANGES = 8,
    MOST_ENDS = 4096,
};

/* An event, with its fields from the third on. Of a FORK: pid is the child, words[0] its parent. */
struct change {
    int64_t timestamp_ns;
    uint32_t what, pid;
    union {
        uint32_t words[4];
        char name[COMM_NAME_SIZE];
    };
};

/* The period in which all changes on one of the sockets are known. */
struct coverage {
    int64_t from_ns, until_ns;
};

struct journal {
    int socket, names;
    struct coverage others, of_names;
    struct {
        uint64_t count;  /* changes so far; the last SLOT_CHANGES of them are kept */
        int64_t from_ns; /* earlier changes may have been overwritten */
        struct change changes[SLOT_CHANGES];
    } slots[PROCESS_SLOTS]; /* by PID modulo PROCESS_SLOTS */
    uint64_t end_count;
    int64_t ends_ns[MOST_ENDS]; /* timestamps of the last EXITs */
};

/* sockets.c */
int procconn_journal_open(struct journal *journal, int receive_buffer);

/* Receive the queued events. */
void procconn_journal_follow(struct journal *journal);

/* journal.c from here on: append a datagram. */
void procconn_journal_append(struct journal *journal, const uint8_t *datagram, size_t size);

/* Return whether all changes of a process in that period are known: its names if `what` is
 * PROCCONN_COMM, else all others. */
bool procconn_journal_covers(const struct journal *journal, uint32_t what, uint32_t pid,
                             int64_t from_ns, int64_t until_ns);

/* Return the last FORK of that child before before_ns; NULL if it is not kept. */
const struct change *procconn_journal_fork(const struct journal *journal, uint32_t child,
                                           int64_t before_ns);

/* Return the last change of that kind in the period; NULL if none is kept. */
const struct change *procconn_journal_find(const struct journal *journal, uint32_t what,
                                           uint32_t pid, int64_t from_ns, int64_t until_ns);

/* Return whether a change in the period set these IDs (UID or GID), or this name. */
bool procconn_journal_has_ids(const struct journal *journal, uint32_t what, uint32_t pid,
                              const uint32_t ids[2], int64_t from_ns, int64_t until_ns);
bool procconn_journal_has_name(const struct journal *journal, uint32_t pid, const uint8_t *name,
                               size_t size, int64_t from_ns, int64_t until_ns);

/* Return whether any process ended in the period, or may have. */
bool procconn_journal_has_end(const struct journal *journal, int64_t from_ns, int64_t until_ns);

#endif
