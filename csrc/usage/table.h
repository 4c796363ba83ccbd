/*
 * Tasks' records that wait for their EXIT: a bounded table, no I/O.
 *
 * The EXIT does not say when its task began, and the record not when it was made. But
 * the kernel queues a task's record before it frees the task's number and before it
 * sends the EXIT. So as long as no record is missing, that of an EXIT is among those of
 * the same number; the oldest, if each one before it has met its own EXIT. (Numbers go
 * round, so none is given out again while the EXIT of the task before is on its way.)
 * What could break this is taken care of:
 *
 * - An EXIT that nobody gets, as it is masked out, leaves its record behind. A mask
 *   hides all EXITs of threads, or all of one exit code: a record also has to be of the
 *   same group and exit code.
 * - A first thread that ends for the exec of another exchanges its number with that one,
 *   at times before its EXIT is made, which then has the other's number. Such an EXIT, for
 *   which there is no record, is given that of the first thread.
 * - An EXIT that was lost does so too. From then on, the records that wait are doubted:
 *   where there is another one of the same kind, neither is given.
 * - When a record is lost, all that wait are forgotten, and no EXIT of before that is
 *   given one: it would be a later task's.
 */
#ifndef PROCCONN_USAGE_TABLE_H
#define PROCCONN_USAGE_TABLE_H

#include <stdbool.h>

#include "procconn.h"

struct usage_table;

/* The table, with nothing in it; NULL without memory. */
struct usage_table *usage_table_new(void);
void usage_table_free(struct usage_table *table);

/* Makes room: of what was taken, and, where all EXITs of before have been met, of those
 * that wait: of what has waited for longest only so much stays. */
void usage_table_tidy(struct usage_table *table, bool all_were_met);

/* Puts a record in; false if the table is full. */
bool usage_table_add(struct usage_table *table, const struct procconn_task_record *record);

/* Doubts all records, as an EXIT may have been lost. */
void usage_table_doubt(struct usage_table *table);

/* Takes out the record of the task whose EXIT that is; false if none is surely its. */
bool usage_table_take(struct usage_table *table, const struct procconn_task_exit *exit,
                      struct procconn_task_record *record);

/* Forgets all records, as others are missing up to that time (CLOCK_MONOTONIC);
 * returns how many. */
size_t usage_table_forget(struct usage_table *table, uint64_t missing_until_ns);

#endif
