/*
 * Which program a reading is of: that of its EXEC, or it is absent.
 *
 * A new program shows in /proc before its EXEC is stamped, usually for microseconds, for
 * tens of milliseconds if it has a large environment. So what was read after EXEC A can be
 * of a program B whose own EXEC comes later. What a process shows can be forged by it; that
 * its memory has ended cannot. The memory is opened after everything else was read. Then the
 * process must not be in the middle of an exec. A reading of EXEC A is A's if
 *
 * 1. no EXEC of the process comes within the latency, the time within which the kernel is
 *    believed to report a program that was not in the middle of its exec; or
 * 2. one comes, A's memory has ended when it is looked at, which is before that one is read,
 *    and that one's reading is right itself. For then that one's memory was alive when A's
 *    was found to have ended: so A's was of the program before, and so was all that was read
 *    before it was opened.
 *
 * "Has ended" alone proves nothing: it is so of a zombie, and of a program that a later exec
 * is replacing. Where the memory may not be opened, 1 is all there is.
 *
 * An exec can also fail when the new program shows already: then the process is killed, and no
 * EXEC comes. So a process that ended before its memory was opened has to have exited by itself.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "proc/process.h"

enum { TRIES = 5 };

static void blank(uint8_t *tail, struct procconn_reading *reading, enum procconn_missing missing)
{
    reading->missing = missing;
    reading->size = procconn_blank_tail(tail, missing);
}

void procconn_read_executed(uint32_t pid, uint8_t *tail, struct procconn_reading *reading)
{
    procconn_read_process(pid, true, tail, reading);
    /* Where its stack begins is hidden from those who may not open the memory. */
    if (reading->is_in_exec && !reading->is_ending && reading->memory != -EACCES &&
        reading->memory != -EPERM)
        blank(tail, reading, PROCCONN_LATER);
}

/* Where its stack begins is hidden from those who may not trace it; then only missing
 * arguments show that an exec is under way. */
static bool is_between_programs(const struct procconn_reading *reading)
{
    return reading->is_in_exec && !reading->is_ending && !reading->is_kernels &&
           (reading->is_empty || reading->startstack != 0);
}

static bool is_title(const uint8_t *argv, size_t size)
{
    const uint8_t *end = memchr(argv, 0, size);

    return end != NULL && memchr(argv, ' ', (size_t)(end - argv)) != NULL;
}

/* A process that writes a title over its arguments, such as "nginx: worker process", pads it
 * with NULs, which look like empty arguments. A zombie has no arguments any more; the rest of
 * it is right. */
static void trim_arguments(uint8_t *tail, struct procconn_reading *reading)
{
    struct draft draft;
    size_t size, trimmed;

    const uint8_t *argv = tail + sizeof draft.header;

    procconn_draft_resume(&draft, tail, reading->size);
    if (draft.header.sizes[ARGV_TEXT] == PROGRAM_ABSENT)
        return;
    size = trimmed = draft.header.sizes[ARGV_TEXT];
    while (trimmed > 1 && argv[trimmed - 1] == 0 && argv[trimmed - 2] == 0)
        trimmed--;
    if (size == 0 && reading->is_ending) {
        procconn_draft_drop(&draft, ARGV_TEXT);
        procconn_draft_note(&draft, PROCCONN_GONE);
    } else if (memchr(argv, 0, size) == argv + trimmed - 1 && is_title(argv, size)) {
        procconn_draft_shorten(&draft, ARGV_TEXT, trimmed);
    }
    reading->missing = draft.missing;
    reading->size = procconn_draft_finish(&draft);
}

void procconn_read_program(uint32_t pid, uint8_t *tail, struct procconn_reading *reading)
{
    uint64_t hash = 0, before;
    bool is_sure = false, is_changing;

    /* The next program can have equal arguments, so all is to be the same twice. */
    for (int tries = 0; !is_sure && tries < TRIES; tries++) {
        before = hash;
        procconn_read_process(pid, false, tail, reading);
        hash = procconn_hash(tail, reading->size, reading->startstack);
        is_changing = reading->is_torn || is_between_programs(reading);
        if (is_changing)
            poll(NULL, 0, 1); /* a millisecond: an exec is usually over by then */
        is_sure = tries > 0 && hash == before && !is_changing;
    }
    if (!is_sure)
        blank(tail, reading, PROCCONN_LATER);
    else
        trim_arguments(tail, reading);
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
        if (!exec->is_read || !exec->is_pinned || next->before != PROCCONN_MEMORY_ENDED)
            return PROCCONN_LATER;
    }
    if (!exec->is_read)
        return exec == execs ? PROCCONN_COMPLETE : PROCCONN_LATER;
    return known_ns >= exec->until_ns ? PROCCONN_COMPLETE : PROCCONN_PENDING;
}
