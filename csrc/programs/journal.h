/*
 * What changed about processes, as the kernel reports it: who forked whom, new ids, new
 * names, tracers, ends. Sockets of its own, as the stream's may have them masked out; they are
 * read with the stream and never wake anyone. Names have one to themselves: any process can
 * take a million a second, and must not push out the rest.
 *
 * The last few changes of each process are kept apart from those of others, so that one
 * which changes all the time pushes out only its own, and those of the few that share its
 * remainder of pids.
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

/* The fields of the event from the third on; of a FORK, of the child, its parent. */
struct change {
    int64_t timestamp_ns;
    uint32_t what, pid;
    union {
        uint32_t words[4];
        char name[COMM_NAME_SIZE];
    };
};

/* What is known of one of the sockets: all changes since then, until then. */
struct coverage {
    int64_t from_ns, until_ns;
};

struct journal {
    int socket, names;
    struct coverage others, of_names;
    struct {
        uint64_t count;  /* of changes so far; the last SLOT_CHANGES of them are kept */
        int64_t from_ns; /* some of before are not */
        struct change changes[SLOT_CHANGES];
    } slots[PROCESS_SLOTS]; /* by the remainder of pids */
    uint64_t end_count;
    int64_t ends_ns[MOST_ENDS]; /* when processes ended, the last ones */
};

/* sockets.c */
int procconn_journal_open(struct journal *journal, int receive_buffer);

/* Receive what there is. */
void procconn_journal_follow(struct journal *journal);

/* journal.c, from here on. Take in a datagram. */
void procconn_journal_append(struct journal *journal, const uint8_t *datagram, size_t size);

/* Whether all changes of a process in between are known; COMM, or all others. */
bool procconn_journal_covers(const struct journal *journal, uint32_t what, uint32_t pid,
                             int64_t from_ns, int64_t until_ns);

/* The last fork of that child before then; NULL if it is not kept. */
const struct change *procconn_journal_fork(const struct journal *journal, uint32_t child,
                                           int64_t before_ns);

/* The last change of that kind in between; NULL if none is kept. */
const struct change *procconn_journal_find(const struct journal *journal, uint32_t what,
                                           uint32_t pid, int64_t from_ns, int64_t until_ns);

/* Whether the process got these ids, by UID or GID, or that name, of so many bytes. */
bool procconn_journal_has_ids(const struct journal *journal, uint32_t what, uint32_t pid,
                              const uint32_t ids[2], int64_t from_ns, int64_t until_ns);
bool procconn_journal_has_name(const struct journal *journal, uint32_t pid, const uint8_t *name,
                               size_t size, int64_t from_ns, int64_t until_ns);

/* Whether any process ended in between, or may have. */
bool procconn_journal_has_end(const struct journal *journal, int64_t from_ns, int64_t until_ns);

#endif
