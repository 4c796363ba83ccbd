#include "stream/loss.h"

#include <string.h>

#include "system/system.h"

void loss_receive(struct loss *loss, uint64_t datagrams)
{
    loss->unchecked += datagrams;
}

void loss_refuse(struct loss *loss)
{
    loss->malformed++;
}

void loss_set_drops(struct loss *loss, uint32_t drops)
{
    loss->drops += (uint32_t)(drops - (uint32_t)loss->drops);
}

bool loss_ask_amid(struct loss *loss, int64_t now_ns, int64_t synced_until_ns, int64_t min_fill_ns)
{
    if (now_ns - synced_until_ns < min_fill_ns || now_ns - loss->asked_ns < NS_PER_MS)
        return false;
    loss->asked_ns = now_ns;
    return true;
}

/* There can be no new drops if the socket is empty now and what was received since it was last
 * empty cannot have filled half of it. The count is read once a second anyway, as the kernel may
 * also fail to copy a message. */
bool loss_ask_after(struct loss *loss, int64_t began_ns, uint32_t receive_buffer)
{
    bool is_due =
        loss->unchecked * EVENT_CHARGE >= receive_buffer || began_ns - loss->asked_ns >= NS_PER_S;

    loss->unchecked = 0;
    if (is_due)
        loss->asked_ns = began_ns;
    return is_due;
}

bool loss_note(struct loss *loss, bool is_uncounted, int64_t since_ns)
{
    uint64_t count = loss_total(loss) - loss->noted;

    if (count == 0 && !is_uncounted)
        return false;
    loss->noted += count;
    if (loss->overrun_count < MAX_OVERRUNS) /* else the last one grows */
        loss->overruns[loss->overrun_count++] = (struct overrun){0, since_ns};
    loss->overruns[loss->overrun_count - 1].count += count;
    return true;
}

bool loss_take(struct loss *loss, int64_t timestamp_ns, struct overrun *overrun)
{
    size_t taken = 0;

    *overrun = (struct overrun){0, loss->overruns[0].since_ns};
    for (; taken < loss->overrun_count && loss->overruns[taken].since_ns < timestamp_ns; taken++)
        overrun->count += loss->overruns[taken].count;
    loss->overrun_count -= taken;
    if (taken > 0)
        memmove(loss->overruns, loss->overruns + taken,
                loss->overrun_count * sizeof loss->overruns[0]);
    return taken > 0;
}

uint64_t loss_total(const struct loss *loss)
{
    return loss->drops + loss->malformed;
}
