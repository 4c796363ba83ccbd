#include "stream/pacing.h"

#include "system/system.h"

void pacing_begin(struct pacing *pacing, int64_t latency_ns, int64_t min_fill_ns)
{
    *pacing = (struct pacing){.latency_ns = latency_ns, .min_fill_ns = min_fill_ns};
}

bool pacing_delivers(const struct pacing *pacing, int64_t now_ns)
{
    const struct pacing_drain *last = &pacing->last;

    return last->has_emptied || last->staged == 0 || now_ns >= last->due_ns;
}

void pacing_note_drain(struct pacing *pacing, const struct pacing_drain *drain)
{
    pacing->last = *drain;
    pacing->is_half_full = false;
    pacing->fill_check_ns = drain->began_ns + pacing->min_fill_ns;
    if (drain->has_delivered)
        pacing->last_wakeup_ns = drain->began_ns;
}

void pacing_note_fill(struct pacing *pacing, int64_t now_ns, bool is_half_full)
{
    pacing->is_half_full = is_half_full;
    pacing->fill_check_ns = now_ns + pacing->min_fill_ns;
}

/* Return when the next wake-up is due if nothing fills up. Staged events cannot be complete before
 * due_ns, which may also be too early for the next wake-up. */
static int64_t find_wakeup(const struct pacing *pacing)
{
    const struct pacing_drain *last = &pacing->last;
    int64_t next_ns = pacing->last_wakeup_ns + pacing->latency_ns;

    if (last->staged == 0)
        return next_ns;
    if (last->staged >= last->staging_size / 2 || last->due_ns > next_ns)
        return last->due_ns;
    return next_ns;
}

/* A drain without space is useless, however full the socket is. After a sleep until the next
 * wake-up, drain without waiting, as events are likely; after a silence, wait for one. */
struct pacing_step pacing_next(const struct pacing *pacing, int64_t since_ns, int64_t now_ns,
                               int64_t deadline_ns)
{
    const struct pacing_drain *last = &pacing->last;
    bool is_staged = last->staged > 0;
    int64_t until_ns;

    if (deadline_ns == 0 || (is_staged && last->due_ns == 0))
        return (struct pacing_step){PACING_DRAIN, now_ns};
    if (!last->has_emptied && (!is_staged || last->has_space))
        return (struct pacing_step){PACING_DRAIN, now_ns};
    until_ns = find_wakeup(pacing);
    if (!is_staged && since_ns >= until_ns)
        return (struct pacing_step){PACING_AWAIT, deadline_ns};
    until_ns = procconn_earlier(until_ns, deadline_ns);
    if (now_ns >= until_ns || (last->has_space && pacing->is_half_full))
        return (struct pacing_step){PACING_DRAIN, now_ns};
    if (!last->has_space)
        return (struct pacing_step){PACING_SLEEP, until_ns};
    if (now_ns >= pacing->fill_check_ns)
        return (struct pacing_step){PACING_CHECK_FILL, now_ns};
    return (struct pacing_step){PACING_SLEEP, procconn_earlier(until_ns, pacing->fill_check_ns)};
}
