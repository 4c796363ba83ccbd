/*
 * Tasks' records that wait for their EXIT: a bounded table, no I/O.
 *
 * A record is its EXIT's if none of another task of the same number can be meant.
 * That is so when it is the only one, with the same group and exit code, and none is
 * missing: the kernel queues a task's record before it frees the number and before it
 * sends the EXIT. Of several that fit, each might be it, and none is given. Once a
 * record was lost, all that wait are forgotten; and for an EXIT soon after that, a
 * record that comes is only taken if its task had started before the EXIT.
 */
#ifndef PROCCONN_USAGETABLE_H
#define PROCCONN_USAGETABLE_H

#include <stdbool.h>

#include "procconn.h"

struct usage_table;

/* The table, with nothing in it; NULL without memory. */
struct usage_table *usage_table_new(void);
void usage_table_free(struct usage_table *table);

/* Makes room: of what has waited for longest only so much stays. */
void usage_table_tidy(struct usage_table *table);

/* Puts a record in that was read from the kernel by that time (CLOCK_MONOTONIC).
 * Returns false if the table is full. */
bool usage_table_add(struct usage_table *table, const struct procconn_task_record *record,
                     uint64_t read_ns);

/* Takes out the record of the task whose EXIT that is; false if none is surely its. */
bool usage_table_take(struct usage_table *table, const struct procconn_task_exit *exit,
                      struct procconn_task_record *record);

/* Forgets all records, as others up to that time are missing; returns how many. */
size_t usage_table_forget(struct usage_table *table, uint64_t missing_until_ns);

#endif
