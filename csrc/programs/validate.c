/*
 * Validate a reading: it is of the program of its EXEC, or it is absent.
 *
 * A new program shows in /proc before its EXEC is timestamped, usually by microseconds, by tens of
 * milliseconds if it has a large environment. So what was read after EXEC A can be of a program B
 * whose own EXEC comes later. A process can forge what it shows; it cannot forge that its memory
 * has ended. The memory is opened after everything else was read, and the process must not be in
 * the middle of an exec then. A reading of EXEC A is valid if the process had started by A's
 * timestamp, its arguments were read before it ended, and
 *
 * 1. it has no other EXEC with a timestamp before until_ns: the end of the reading plus the
 *    latency, within which the kernel is expected to report a program not in the middle of its
 *    exec; or
 * 2. it has such an EXEC B, A's memory had ended before B was read, and B's reading is valid
 *    itself. B's memory was then alive when A's was found to have ended, so A's memory was that of
 *    the program before B, and so was everything read before it was opened.
 *
 * Rule 2 cannot be forged. Rule 1 rests on timing; a tracer can stop a process longer (traced.c).
 *
 * That the memory has ended proves nothing alone: it is true of a zombie, and of a program that a
 * later exec is replacing. If the memory may not be opened, only rule 1 applies.
 *
 * An exec can also fail after the new program shows. The process is then killed, and no EXEC comes.
 * So a process that ended before its memory was opened must have exited by itself.
 */
#include "internals.h"

int procconn_validate_exec(const struct procconn_exec *execs, size_t count, int64_t ended_ns,
                           int64_t known_ns)
{
    const struct procconn_exec *exec = execs, *next;

    if (exec->is_read &&
        (exec->started_ns > exec->timestamp_ns || (ended_ns != 0 && ended_ns <= exec->read_ns)))
        return PROCCONN_GONE;
    for (; count > 1 && exec[1].timestamp_ns <= exec->until_ns; exec = next, count--) {
        next = exec + 1;
        if (!exec->is_read || !exec->is_pinned || next->before != PROCCONN_MEMORY_ENDED)
            return PROCCONN_LATER;
    }
    if (!exec->is_read)
        return exec == execs ? PROCCONN_COMPLETE : PROCCONN_LATER;
    return known_ns >= exec->until_ns ? PROCCONN_COMPLETE : PROCCONN_PENDING;
}
