/* Usage records for the stream; table.h has the matching rule. */
#ifndef PROCCONN_USAGE_H
#define PROCCONN_USAGE_H

#include "internals.h"

/* Drop records whose EXIT does not match the filter, or may be lost and is overdue. Call it once
 * records were taken for all EXITs until met_until_ns (CLOCK_MONOTONIC). */
void procconn_usage_compact(struct procconn_usage *usage, int64_t met_until_ns);

#endif
