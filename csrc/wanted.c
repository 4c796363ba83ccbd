/* Which events are wanted: the rule of the socket filter, for what is queued already and for
 * records of usage. */
#define _GNU_SOURCE /* struct mmsghdr */
#include "stream.h"

uint32_t procconn_admits(const struct procconn_wanted *wanted, uint32_t what, uint32_t is_thread,
                         uint32_t exit_code)
{
    if (is_thread && !wanted->threads)
        return 0;
    if (what == PROCCONN_EXIT && exit_code != 0)
        return (wanted->mask & (PROCCONN_EXIT | PROCCONN_NONZERO_EXIT)) != 0;
    return (wanted->mask & what) != 0;
}

bool procconn_is_wanted(const struct procconn_wanted *wanted, const struct procconn_event *event)
{
    size_t task = event->what == PROCCONN_FORK ? 2 : 0; /* FORK's own is the child */

    if (event->kind == NULL)
        return wanted->unknown_kinds;
    return procconn_admits(wanted, event->what,
                           procconn_event_word(event, task) != procconn_event_word(event, task + 1),
                           event->what == PROCCONN_EXIT ? procconn_event_word(event, 2) : 0);
}
