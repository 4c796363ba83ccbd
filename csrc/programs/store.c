/* The two rings of state.h, which the leading thread fills and the consumer empties. */
#include <string.h>

#include "programs/state.h"

void procconn_note_missed(struct procconn_programs *programs, int64_t from_ns, int64_t to_ns)
{
    bool is_empty = atomic_load(&programs->released) == atomic_load(&programs->stored);

    if (is_empty || from_ns < atomic_load(&programs->missed_from_ns))
        atomic_store(&programs->missed_from_ns, from_ns);
    if (to_ns > atomic_load(&programs->missed_to_ns))
        atomic_store(&programs->missed_to_ns, to_ns);
}

static uint64_t next_round(uint64_t at)
{
    return (at + MOST_BYTES - 1) / MOST_BYTES * MOST_BYTES;
}

/* Find contiguous space for the bytes; false if there is none. An empty ring restarts at its
 * beginning, so that few of its pages are touched. */
static bool find_space(struct procconn_programs *programs, size_t size, uint64_t *at)
{
    uint64_t free_until = atomic_load(&programs->released_bytes);

    *at = programs->stored_bytes;
    if (atomic_load(&programs->released) == atomic_load(&programs->stored)) {
        *at = next_round(*at);
        programs->begun_at = *at;
    } else if (*at % MOST_BYTES + size > MOST_BYTES) {
        *at = next_round(*at);
    }
    if (free_until < programs->begun_at)
        free_until = programs->begun_at;
    return *at + size - free_until <= MOST_BYTES;
}

void procconn_store_program(struct procconn_programs *programs, const struct program_entry *entry,
                            const uint8_t *trailer)
{
    uint64_t index = atomic_load(&programs->stored), at;
    struct program_entry *stored = procconn_program_at(programs, index);

    if (index - atomic_load(&programs->released) == MOST_ENTRIES) {
        procconn_note_missed(programs, entry->exec.timestamp_ns, entry->exec.timestamp_ns);
        return;
    }
    *stored = *entry;
    if (!find_space(programs, entry->size, &at)) {
        at = programs->stored_bytes;
        stored->size = 0;
        stored->missing = PROCCONN_BUSY;
        stored->exec.is_read = 0;
    }
    memcpy(programs->bytes + at % MOST_BYTES, trailer, stored->size);
    stored->at = at;
    programs->stored_bytes = at + stored->size;
    atomic_store(&programs->stored, index + 1);
}

/* Release the oldest entries, up to the first that is not taken and not older than before_ns. */
void procconn_release_programs(struct procconn_programs *programs, int64_t before_ns)
{
    uint64_t end = atomic_load(&programs->stored), index = atomic_load(&programs->released);
    const struct program_entry *entry;

    for (; index < end; index++) {
        entry = procconn_program_at(programs, index);
        if (!entry->is_taken && entry->exec.timestamp_ns >= before_ns)
            break;
        atomic_store(&programs->released_bytes, entry->at + entry->size);
    }
    atomic_store(&programs->released, index);
}

struct program_entry *procconn_find_program(const struct procconn_programs *programs,
                                            const struct program_key *key, uint64_t *index)
{
    uint64_t end = atomic_load(&programs->stored);
    struct program_entry *entry;

    for (*index = atomic_load(&programs->released); *index < end; ++*index) {
        entry = procconn_program_at(programs, *index);
        if (entry->key.timestamp_ns == key->timestamp_ns && entry->key.seq == key->seq &&
            entry->key.cpu == key->cpu)
            return entry;
    }
    return NULL;
}
