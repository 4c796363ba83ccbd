#include "programs/journal.h"

#include <string.h>

#include "wire/decode.h"

void procconn_journal_append(struct journal *journal, const uint8_t *datagram, size_t size)
{
    struct procconn_walk walk = {.buffer = datagram, .size = size};
    struct procconn_event event;
    struct change *change;
    uint32_t pid;
    size_t slot;

    if (procconn_next(&walk, &event) != PROCCONN_EVENT || event.kind == NULL)
        return;
    pid = procconn_event_word(&event, event.what == PROCCONN_FORK     ? 2
                                      : event.what == PROCCONN_PTRACE ? 1
                                                                      : 0);
    slot = pid % PROCESS_SLOTS;
    change = &journal->slots[slot].changes[journal->slots[slot].count % SLOT_CHANGES];
    if (journal->slots[slot].count >= SLOT_CHANGES)
        journal->slots[slot].from_ns = change->timestamp_ns;
    *change = (struct change){
        .timestamp_ns = (int64_t)event.timestamp_ns, .what = event.what, .pid = pid};
    if (event.what == PROCCONN_FORK)
        change->words[0] = procconn_event_word(&event, 1);
    else if (event.what == PROCCONN_COMM)
        memcpy(change->name, event.data + 2 * WORD_SIZE, COMM_NAME_SIZE);
    else
        for (size_t i = 0; i < 4; i++)
            change->words[i] = procconn_event_word(&event, i + 2);
    journal->slots[slot].count++;
    if (event.what == PROCCONN_EXIT)
        journal->ends_ns[journal->end_count++ % MOST_ENDS] = change->timestamp_ns;
}

bool procconn_journal_covers(const struct journal *journal, uint32_t what, uint32_t pid,
                             int64_t from_ns, int64_t until_ns)
{
    const struct coverage *coverage = what == PROCCONN_COMM ? &journal->of_names : &journal->others;

    return from_ns >= coverage->from_ns && until_ns <= coverage->until_ns &&
           from_ns >= journal->slots[pid % PROCESS_SLOTS].from_ns;
}

/* Return the last change of the process before *number in its slot, and set *number to it; or
 * NULL. */
static const struct change *previous(const struct journal *journal, uint32_t pid, uint32_t what,
                                     uint64_t *number)
{
    size_t slot = pid % PROCESS_SLOTS;
    uint64_t count = journal->slots[slot].count;
    const struct change *change;

    while (*number > 0 && count - *number < SLOT_CHANGES) {
        change = &journal->slots[slot].changes[--*number % SLOT_CHANGES];
        if (change->pid == pid && change->what == what)
            return change;
    }
    return NULL;
}

static bool is_between(const struct change *change, int64_t from_ns, int64_t until_ns)
{
    return change->timestamp_ns > from_ns && change->timestamp_ns <= until_ns;
}

const struct change *procconn_journal_fork(const struct journal *journal, uint32_t child,
                                           int64_t before_ns)
{
    uint64_t number = journal->slots[child % PROCESS_SLOTS].count;
    const struct change *change;

    while ((change = previous(journal, child, PROCCONN_FORK, &number)) != NULL)
        if (change->timestamp_ns < before_ns) /* a later one may have been lost */
            return change->timestamp_ns > journal->others.from_ns ? change : NULL;
    return NULL;
}

const struct change *procconn_journal_find(const struct journal *journal, uint32_t what,
                                           uint32_t pid, int64_t from_ns, int64_t until_ns)
{
    uint64_t number = journal->slots[pid % PROCESS_SLOTS].count;
    const struct change *change;

    while ((change = previous(journal, pid, what, &number)) != NULL)
        if (is_between(change, from_ns, until_ns))
            return change;
    return NULL;
}

bool procconn_journal_has_ids(const struct journal *journal, uint32_t what, uint32_t pid,
                              const uint32_t ids[2], int64_t from_ns, int64_t until_ns)
{
    uint64_t number = journal->slots[pid % PROCESS_SLOTS].count;
    const struct change *change;

    while ((change = previous(journal, pid, what, &number)) != NULL)
        if (is_between(change, from_ns, until_ns) && memcmp(change->words, ids, 2 * WORD_SIZE) == 0)
            return true;
    return false;
}

bool procconn_journal_has_name(const struct journal *journal, uint32_t pid, const uint8_t *name,
                               size_t size, int64_t from_ns, int64_t until_ns)
{
    uint64_t number = journal->slots[pid % PROCESS_SLOTS].count;
    const struct change *change;

    while ((change = previous(journal, pid, PROCCONN_COMM, &number)) != NULL)
        if (is_between(change, from_ns, until_ns) &&
            strnlen(change->name, COMM_NAME_SIZE) == size && memcmp(change->name, name, size) == 0)
            return true;
    return false;
}

/* EXITs of two CPUs can be slightly out of order. */
bool procconn_journal_has_end(const struct journal *journal, int64_t from_ns, int64_t until_ns)
{
    enum { DISORDER_NS = 1000000 };
    int64_t end_ns = until_ns;

    if (from_ns < journal->others.from_ns || until_ns > journal->others.until_ns)
        return true;
    for (uint64_t i = journal->end_count; i > 0 && end_ns > from_ns - DISORDER_NS; i--) {
        if (journal->end_count - i == MOST_ENDS)
            return true;
        end_ns = journal->ends_ns[(i - 1) % MOST_ENDS];
        if (end_ns > from_ns && end_ns <= until_ns)
            return true;
    }
    return false;
}
