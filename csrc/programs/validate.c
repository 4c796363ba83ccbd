/*
 * Which program a reading is of: that of its EXEC, or it is absent.
 *
 * A new program shows in /proc before its EXEC is timestamped, usually for microseconds, for
 * tens of milliseconds if it has a large environment. So what was read after EXEC A can be
 * of a program B whose own EXEC comes later. What a process shows can be forged by it; that
 * its memory has ended cannot. The memory is opened after everything else was read. Then the
 * process must not be in the middle of an exec. A reading of EXEC A is A's if the process had
 * started by then, its arguments were read before it ended, and
 *
 * 1. no EXEC of it has a timestamp before until_ns: the end of the reading, and the latency, within
 *    which the kernel is believed to report a program that was not in the middle of its exec; or
 * 2. EXEC B has, A's memory had ended before B was read, and B's reading is right itself. For then
 *    B's memory was alive when A's was found to have ended: so A's was of the program before B,
 *    and so was all that was read before it was opened.
 *
 * 2 cannot be forged. 1 rests on timing; a tracer can hold a process for longer (traced.c).
 *
 * "Has ended" alone proves nothing: it is so of a zombie, and of a program that a later exec
 * is replacing. Where the memory may not be opened, 1 is all there is.
 *
 * An exec can also fail when the new program shows already: then the process is killed, and no
 * EXEC comes. So a process that ended before its memory was opened has to have exited by itself.
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
