/*
 * What of a reading may be shown: absent, never wrong.
 *
 * The new program shows in /proc before its EXEC is stamped: what was read behind one
 * EXEC can be of a program whose own EXEC comes later. The kernel is believed to report
 * an exec within some time, so only one stamped until so long after the reading can be
 * it. If that one was read too and read differently, with its stack elsewhere in memory,
 * ours was of neither it nor, as it was read later than ours, of one behind it, provided
 * that it was right itself.
 */
#include <poll.h>
#include <string.h>

#include "proc.h"

enum { TRIES = 5 };

static void blank(uint8_t *tail, struct procconn_reading *reading, enum procconn_missing missing)
{
    reading->missing = missing;
    reading->size = procconn_blank_tail(tail, missing);
}

void procconn_read_executed(uint32_t pid, uint8_t *tail, struct procconn_reading *reading)
{
    procconn_read_process(pid, tail, reading);
    /* A tracer can hold a process between the new program and its EXEC. */
    if (reading->is_held)
        blank(tail, reading, PROCCONN_LATER);
    /* Without arguments it can be in the middle of an exec, unless it ends. */
    else if (reading->is_empty)
        blank(tail, reading, reading->is_ending ? PROCCONN_GONE : PROCCONN_LATER);
}

/* Without arguments, those of an exec under way are not there yet; `place` tells. */
static bool is_between_programs(const struct procconn_reading *reading)
{
    return reading->is_empty && !reading->is_ending && !reading->is_kernels && reading->place == 0;
}

/* A zombie has no arguments any more, but the rest of it is right. */
static void leave_out_arguments(uint8_t *tail, struct procconn_reading *reading)
{
    struct program_header header;

    memcpy(&header, tail, sizeof header);
    header.sizes[ARGV_TEXT] = PROGRAM_ABSENT;
    header.flags = PROCCONN_GONE << PROGRAM_MISSING_SHIFT;
    memcpy(tail, &header, sizeof header);
    reading->missing = PROCCONN_GONE;
}

void procconn_read_program(uint32_t pid, uint8_t *tail, struct procconn_reading *reading)
{
    uint64_t print = 0, before;
    bool is_sure = false, is_changing;

    /* The next program can have equal arguments, so all is to be the same twice. */
    for (int tries = 0; !is_sure && tries < TRIES; tries++) {
        before = print;
        procconn_read_process(pid, tail, reading);
        print = procconn_fingerprint(tail, reading->size) ^ reading->place;
        is_changing = reading->is_torn || is_between_programs(reading);
        if (is_changing)
            poll(NULL, 0, 1); /* a millisecond: an exec is over by then */
        is_sure = tries > 0 && print == before && !is_changing;
    }
    if (!is_sure && !reading->is_torn)
        blank(tail, reading, PROCCONN_LATER);
    else if (reading->is_empty && reading->is_ending)
        leave_out_arguments(tail, reading);
}

/* A program can write over its arguments between two readings. Where its stack lies, which
 * only those who may trace it are told, it cannot change. */
static bool may_be_same(const struct procconn_exec *exec, const struct procconn_exec *other)
{
    return exec->print == other->print || exec->place == other->place || exec->place == 0 ||
           other->place == 0;
}

int procconn_judge(const struct procconn_exec *execs, size_t count, int64_t ended_ns,
                   int64_t known_ns)
{
    const struct procconn_exec *exec = execs, *next;

    if (exec->is_read &&
        (exec->started_ns > exec->stamp_ns || (ended_ns != 0 && ended_ns <= exec->read_ns)))
        return PROCCONN_GONE;
    for (; count > 1 && exec[1].stamp_ns <= exec->until_ns; exec = next, count--) {
        next = exec + 1;
        if (!exec->is_read || may_be_same(exec, next))
            return PROCCONN_LATER;
    }
    if (!exec->is_read)
        return exec == execs ? PROCCONN_COMPLETE : PROCCONN_LATER;
    return known_ns >= exec->until_ns ? PROCCONN_COMPLETE : PROCCONN_PENDING;
}
