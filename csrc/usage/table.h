/*
 * A bounded table of usage records that wait for their EXIT. No I/O.
 *
 * Neither an EXIT nor a record has the start time of its task, and PIDs are reused. The kernel
 * guarantees (kernel/exit.c):
 *
 * - A task's record is queued before its PID is released and before its EXIT is sent. So unless
 *   records were lost, the record of an EXIT is among those of the same PID, thread group and exit
 *   code that were queued before its timestamp. A single match is its record.
 * - An EXIT with a parent was sent before its task was reaped, while it still had its PID. Its
 *   record is then the newest of that PID before the timestamp. (Threads are released before their
 *   EXIT, and sometimes so is a process whose parent reaps it quickly.)
 * - Records arrive in the order they were queued. If thousands of others lie between the newest
 *   record that met its EXIT and one of an EXIT's PID, that one was queued after the EXIT was sent:
 *   PID wrap-around.
 *
 * EXITs have no such order: a task can be preempted between the release of its PID and its EXIT,
 * and the PID reused meanwhile (clone3(2), set_tid). So if several records match, the EXIT is
 * ambiguous and gets none, unless the oldest is that of a thread-group leader which a thread's exec
 * ended. An ambiguous EXIT consumes one of the records. The others stay ambiguous and are never
 * delivered: each of their EXITs consumes one, too.
 *
 * EXITs can be missing: lost, or filtered out. A thread-group leader that is killed by the exec of
 * another thread exchanges its PID with it, sometimes before its EXIT is created. That EXIT then
 * has a thread's PID, and is filtered out with those of threads. An EXIT of a thread without a
 * record gets the leader's record.
 *
 * Records can be missing: lost, or queued before usage_table_begin. Their EXITs are sent later,
 * when the task has freed its memory and closed its files, and the PID may be reused at once after
 * that. So for some time no EXIT gets a record.
 */
#ifndef PROCCONN_USAGE_TABLE_H
#define PROCCONN_USAGE_TABLE_H

#include <stdbool.h>

#include "internals.h"

struct usage_table;

/* The period in which a record was queued (CLOCK_MONOTONIC), and whether its EXIT may never
 * come. */
struct usage_arrival {
    int64_t after_ns, until_ns;
    bool exit_may_be_missing;
};

/* Return an empty table; NULL if out of memory. */
struct usage_table *usage_table_new(void);
void usage_table_free(struct usage_table *table);

/* Note that records of EXITs until now_ns are missing. */
void usage_table_begin(struct usage_table *table, int64_t now_ns);

/* Free space. met_until_ns: all EXITs until then were looked up, so records whose EXIT may be
 * missing and is overdue are dropped; 0 if they were not. */
void usage_table_compact(struct usage_table *table, int64_t met_until_ns);

/* Add a record. Returns false if the table is full. */
bool usage_table_add(struct usage_table *table, const struct procconn_task_record *record,
                     struct usage_arrival arrival);

/* Note that the EXIT of each record may have been lost. */
void usage_table_note_missing(struct usage_table *table);

/* Take the record of the EXIT's task. Returns false if it is missing or ambiguous. */
bool usage_table_take(struct usage_table *table, const struct procconn_task_exit *exit,
                      struct procconn_task_record *record);

/* Drop all records, because others were lost until now_ns. Returns how many. */
size_t usage_table_forget(struct usage_table *table, int64_t now_ns);

#endif
