/*
 * Tasks' records that wait for their EXIT: a bounded table, no I/O.
 *
 * Neither an EXIT nor a record says when its task began, and PIDs are reused. What the
 * kernel guarantees (kernel/exit.c):
 *
 * - A task's record is queued before its PID is released and before its EXIT is sent. So
 *   unless records were lost, that of an EXIT is among those of the same PID, thread group
 *   and exit code that were queued before its timestamp. If there is one, it is the one.
 * - An EXIT with a parent was sent before its task was reaped: the PID was still its own.
 *   The record is then the newest of that PID before the timestamp. (Threads are released
 *   before their EXIT; so is, now and then, a process whose parent is fast.)
 * - Records come in the order they were queued. If thousands of others stand between the
 *   newest record that met its EXIT and one of an EXIT's PID, that one was queued later
 *   than the EXIT was sent: PIDs have wrapped around.
 *
 * EXITs have no such order: a task can be preempted between the release of its PID and its
 * EXIT, and the PID be given to another one meanwhile (clone3(2), set_tid). So if several
 * records fit, the EXIT is ambiguous and gets none, unless the oldest is a leader's that
 * ended for a thread's exec. It uses up one of them, and the others are ambiguous from then
 * on and given to nobody: each of their EXITs uses up one, too.
 *
 * EXITs can be missing: lost, or masked out. A thread-group leader that is killed by the
 * exec of another thread exchanges its PID with it, at times before its EXIT is made,
 * which then is a thread's, and masked out with those. For such an EXIT, of a thread
 * without a record, the leader's is used.
 *
 * Records can be missing: lost, or queued before the table was begun. Their EXITs are sent
 * later, when the task has freed its memory and closed its files, and the PID may be reused
 * at once after that. So for some time no EXIT gets a record.
 */
#ifndef PROCCONN_USAGE_TABLE_H
#define PROCCONN_USAGE_TABLE_H

#include <stdbool.h>

#include "internals.h"

struct usage_table;

/* When a record was queued (CLOCK_MONOTONIC), and whether its EXIT may never come. */
struct usage_arrival {
    int64_t after_ns, until_ns;
    bool exit_may_be_missing;
};

/* An empty table; NULL if there is no memory. */
struct usage_table *usage_table_new(void);
void usage_table_free(struct usage_table *table);

/* Notes that records of EXITs until now are missing. */
void usage_table_begin(struct usage_table *table, int64_t now_ns);

/* Frees space. If all EXITs up to a time were looked up, drops records whose EXIT should
 * have come before and may be missing; 0 if they were not. */
void usage_table_compact(struct usage_table *table, int64_t met_until_ns);

/* Puts a record in; false if the table is full. */
bool usage_table_add(struct usage_table *table, const struct procconn_task_record *record,
                     struct usage_arrival arrival);

/* Notes that the EXIT of each record may have been lost. */
void usage_table_note_missing(struct usage_table *table);

/* Takes out the record of the EXIT's task; false if it is missing or ambiguous. */
bool usage_table_take(struct usage_table *table, const struct procconn_task_exit *exit,
                      struct procconn_task_record *record);

/* Drops all records, as others were lost until now; returns how many. */
size_t usage_table_forget(struct usage_table *table, int64_t now_ns);

#endif
