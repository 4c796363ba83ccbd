/*
 * The programs of execs: a thread reads them, whoever has the stream takes them.
 *
 * What was read is in a ring of entries in the order of reading, its bytes in a ring of
 * bytes. The thread alone adds to both, the taker alone releases; neither waits for the
 * other, so the thread, at real-time priority, is never kept by one that has less.
 */
#ifndef PROCCONN_PROGRAMS_H
#define PROCCONN_PROGRAMS_H

#include <stdatomic.h>
#include <sys/types.h>

#include "event.h"
#include "proc.h"

enum {
    /* Together some 10 MiB, touched only as far as programs wait to be taken. */
    MOST_ENTRIES = 16384,
    MOST_BYTES = 8388608,
};

/* An EXEC's datagram has these at every socket it comes to. */
struct program_key {
    uint32_t cpu, seq;
    uint64_t timestamp_ns;
};

struct program_entry {
    struct program_key key;
    uint32_t pid;
    uint32_t size; /* of the tail; 0 if there is nothing to be told but `missing` */
    uint64_t at;   /* of the tail, in all bytes there ever were */
    struct procconn_exec exec;
    enum procconn_missing missing;
    bool is_traced;
    bool is_taken;
};

struct procconn_programs {
    int socket;
    int wake;  /* readable when stopping */
    int begun; /* written when `realtime` is told */
    pid_t owner;
    int64_t latency_ns; /* from showing a program to its EXEC, at most */
    int64_t pause_ns;   /* between two looks at what waits */
    _Atomic int references;
    _Atomic bool is_stopping;

    /* the thread's */
    _Atomic int realtime;    /* told before it reads */
    _Atomic bool is_reading; /* what it took from the socket may not be stored yet */
    _Atomic uint64_t stored; /* entries so far */
    uint64_t stored_bytes;
    uint64_t begun_at;                            /* bytes before were all released once */
    int64_t emptied_ns;                           /* it knew all events until then */
    _Atomic int64_t missed_from_ns, missed_to_ns; /* execs in between may be missing */
    uint8_t draft[PROCCONN_TAIL_ROOM];

    /* the taker's */
    _Atomic uint64_t released, released_bytes;
    int64_t known_ns; /* all events until then are stored */
    uint8_t blank[sizeof(struct program_header)];

    struct program_entry *entries;
    uint8_t *bytes;
};

/* store.c: the thread's side */
void procconn_store_program(struct procconn_programs *programs, const struct program_entry *entry);
void procconn_note_missed(struct procconn_programs *programs, int64_t from_ns, int64_t to_ns);

/* store.c: the taker's side */
struct program_entry *procconn_find_program(const struct procconn_programs *programs,
                                            const struct program_key *key, uint64_t *index);
void procconn_release_programs(struct procconn_programs *programs, int64_t before_ns);

static inline struct program_entry *procconn_program_at(const struct procconn_programs *programs,
                                                        uint64_t index)
{
    return &programs->entries[index % MOST_ENTRIES];
}

static inline struct program_key procconn_key_of(const uint8_t *message,
                                                 const struct procconn_event *event)
{
    return (struct program_key){event->cpu, procconn_load_u32(message + CN_MSG_VAL_AT + WORD_SIZE),
                                event->timestamp_ns};
}

/* realtime.c: give the calling thread priority. Returns an enum procconn_realtime. */
int procconn_become_realtime(void);

#endif
