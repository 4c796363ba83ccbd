/*
 * The programs of execs: threads read them, the consumer of the stream takes them.
 *
 * Readings are stored in a ring of entries, in reading order, and their bytes in a ring of bytes.
 * The leading thread adds to both, and only the consumer releases entries. Neither waits for the
 * other, so the consumer cannot block the leading thread, which has real-time priority.
 *
 * Another process can block a reading for as long as it likes: by an exec that closes a file of a
 * FUSE file system, or by arguments that lie in one. If a reading takes longer than the latency, a
 * standby thread takes over the lead, and what the blocked thread reads is not shown.
 */
#ifndef PROCCONN_PROGRAMS_STATE_H
#define PROCCONN_PROGRAMS_STATE_H

#include <stdatomic.h>
#include <sys/types.h>

#include "proc/memory.h"
#include "proc/process.h"
#include "programs/fields.h"
#include "programs/programs.h"
#include "system/system.h"
#include "wire/message.h"

enum {
    /* About 10 MiB together; only the pages that stored programs need are touched. */
    MOST_ENTRIES = 16384,
    MOST_BYTES = 8388608,

    MOST_READERS = 32,

    /* An exec waits at most this many latencies, from its timestamp on. */
    MOST_LATENCIES = 8,

    /* The latency, within which the kernel is expected to report an exec: as long as events may
     * coalesce, but no longer than an exec, and what follows it, should wait. */
    SHORTEST_LATENCY_NS = 1000000,
    LONGEST_LATENCY_NS = 10000000,
};

/* Identifies an EXEC: its datagram has the same values on every socket. */
struct program_key {
    uint32_t cpu, seq;
    uint64_t timestamp_ns;
};

struct program_entry {
    struct program_key key;
    uint32_t pid;
    uint32_t size; /* of the trailer; 0 if only `missing` can be shown */
    uint64_t at;   /* offset of the trailer, counting all bytes ever stored */
    struct procconn_exec exec;
    uint64_t start_ticks, switches;
    int64_t cwd_ns, done_ns;
    struct sighting parent; /* if the working directory was read late */
    enum procconn_missing missing;
    bool is_traced, is_checked;
    bool is_ending; /* it ended before its memory was opened */
    bool is_taken;
};

/* A thread that reads or stands by. */
struct program_reader {
    struct procconn_programs *programs;
    _Atomic bool is_used;
    /* Start of its current reading; 0: not reading; TAKEN_OVER: it has lost the lead. */
    _Atomic int64_t since_ns;
    struct program_entry entry; /* of its current EXEC */
    uint8_t trailer[PROCCONN_TRAILER_CAPACITY];
};

enum { TAKEN_OVER = -1 };

struct procconn_programs {
    int socket;
    int wake;  /* readable when stopping */
    int alarm; /* readable when a reading may have taken too long */
    int begun; /* written when `realtime` is known */
    pid_t owner;
    _Atomic bool is_apart; /* the threads have a descriptor table of their own */
    int64_t latency_ns;    /* from a program showing in /proc to its EXEC, at most */
    int64_t pause_ns;      /* between two checks of an exec that waits */
    _Atomic int references;
    _Atomic bool is_stopping;
    _Atomic int realtime; /* set before the first reading */
    _Atomic int error;    /* of a refused system call, after which reading stops */

    struct program_reader readers[MOST_READERS];
    struct program_reader *_Atomic leader;
    _Atomic int standbys;

    /* the leader's */
    struct memories memories;
    _Atomic bool is_reading; /* what it received may not be stored yet */
    _Atomic uint64_t stored; /* entries so far */
    uint64_t stored_bytes;
    uint64_t begun_at;                            /* all bytes before this offset are released */
    int64_t drained_ns;                           /* it had received all EXECs until then */
    bool is_missing;                              /* some were dropped since then */
    _Atomic int64_t missed_from_ns, missed_to_ns; /* execs in between may be missing */

    /* the consumer's */
    _Atomic uint64_t released, released_bytes;
    int64_t known_ns; /* all EXECs until then are stored */
    struct journal journal;
    struct directories directories;
    uint8_t blank[sizeof(struct program_header)];

    struct program_entry *entries;
    uint8_t *bytes;
};

/* store.c: the leader's side */
void procconn_store_program(struct procconn_programs *programs, const struct program_entry *entry,
                            const uint8_t *trailer);
void procconn_note_missed(struct procconn_programs *programs, int64_t from_ns, int64_t to_ns);

/* store.c: the consumer's side */
struct program_entry *procconn_find_program(const struct procconn_programs *programs,
                                            const struct program_key *key, uint64_t *index);
void procconn_release_programs(struct procconn_programs *programs, int64_t before_ns);

/* traced.c: re-check a traced process once the check is due; and those after it, so that they wait
 * concurrently and not one after another */
void traced_check(const struct procconn_programs *programs, struct program_entry *entry,
                  int64_t now_ns);
void traced_check_ahead(const struct procconn_programs *programs, uint64_t index, int64_t now_ns);

/* readers.c: start a thread, which leads if no other does and otherwise stands by. Returns 0 or a
 * negative errno; -EAGAIN also if there are MOST_READERS already. */
int procconn_start_reader(struct procconn_programs *programs);

/* lead.c: read until the thread has to stop, has failed, or has lost the lead */
void procconn_lead(struct program_reader *reader);

/* lead.c: set when to check whether a reading takes too long; 0 disarms. The consumer that waits
 * for a program usually notices first: a timer that is due before the next tick costs 5 µs. */
void procconn_set_alarm(const struct procconn_programs *programs, int64_t at_ns);

/* readers.c: drop a reference; the last one closes the descriptors that are shared with the
 * process, and frees everything. Or free without closing. */
void procconn_drop_programs(struct procconn_programs *programs);
void procconn_free_programs(struct procconn_programs *programs);

/* Full memory barrier for all CPUs, also against system calls that read without a lock, such as
 * poll. ThreadSanitizer does not support fences, and orders these accesses itself. */
static inline void procconn_order_memory(void)
{
#ifndef __SANITIZE_THREAD__
    atomic_thread_fence(memory_order_seq_cst);
#endif
}

static inline bool procconn_goes_on(const struct procconn_programs *programs)
{
    return !atomic_load(&programs->is_stopping) && atomic_load(&programs->error) == 0;
}

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

#endif
