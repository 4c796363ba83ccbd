/*
 * A tracer can stop a process in the middle of an exec, before its EXEC, and also after it. Each
 * stop is one voluntary context switch, counted on entry, slightly after the state shows. So two
 * switches since the reading prove that the process has left a stop that it was in, or about to
 * enter, and has passed the point at which its EXEC is sent. If neither the reading nor an event
 * until this check shows a tracer, there was no stop.
 */
#include <errno.h>
#include <unistd.h>

#include "proc/files.h"
#include "programs/state.h"

/* Read status, as stat blocks during an exec. Returns false if nothing could be determined. */
static bool look_again(uint32_t pid, struct procconn_status_file *status)
{
    int directory = procconn_open_process(pid), error = errno;

    *status = (struct procconn_status_file){0};
    if (directory >= 0) {
        error = procconn_read_status(directory, status, NULL) < 0 ? errno : 0;
        close(directory);
    }
    return error == 0 || error == ENOENT || error == ESRCH; /* else out of descriptors */
}

void traced_check(const struct procconn_programs *programs, struct program_entry *entry,
                  int64_t now_ns)
{
    int64_t last_ns = entry->exec.timestamp_ns + (MOST_LATENCIES - 1) * programs->latency_ns;
    const struct journal *journal = &programs->journal;
    struct procconn_status_file status;
    bool is_known, has_left;

    if (now_ns < entry->exec.until_ns || entry->is_checked)
        return;
    /* A tracer can have attached itself since the exec, even after the reading. */
    if (procconn_journal_find(journal, PROCCONN_PTRACE, entry->pid, entry->exec.timestamp_ns,
                              entry->exec.until_ns) != NULL)
        entry->is_traced = true;
    entry->is_checked = !entry->is_traced &&
                        procconn_journal_covers(journal, PROCCONN_PTRACE, entry->pid,
                                                entry->exec.timestamp_ns, entry->exec.until_ns);
    if (entry->is_checked)
        return;
    is_known = look_again(entry->pid, &status);
    has_left = entry->switches != 0 && status.switches >= entry->switches + 2;
    entry->is_checked = true;
    if (is_known && status.state != 't') { /* if a tracer released it, its EXEC comes soon */
        entry->exec.until_ns = now_ns + programs->latency_ns;
    } else if (is_known && has_left) {
        entry->exec.until_ns = now_ns;
    } else if (now_ns < last_ns) {
        entry->is_checked = false;
        entry->exec.until_ns = now_ns + programs->pause_ns;
    } else {
        entry->exec.is_read = 0;
        entry->size = 0;
        entry->missing = is_known ? PROCCONN_HELD : PROCCONN_LIMIT;
    }
}

void traced_check_ahead(const struct procconn_programs *programs, uint64_t index, int64_t now_ns)
{
    enum { MOST_AHEAD = 16 };
    uint64_t end = atomic_load(&programs->stored);

    for (uint64_t i = 0; i < MOST_AHEAD && index + i < end; i++)
        traced_check(programs, procconn_program_at(programs, index + i), now_ns);
}
