/* Usage records, as the stream takes them; table.h has the rule. */
#ifndef PROCCONN_USAGE_H
#define PROCCONN_USAGE_H

#include "internals.h"

/* Drop records whose EXIT does not match the filter, or may be lost and should have come. Call
 * it when records were taken for all EXITs up to a time (CLOCK_MONOTONIC). */
void procconn_usage_compact(struct procconn_usage *usage, int64_t met_until_ns);

#endif
