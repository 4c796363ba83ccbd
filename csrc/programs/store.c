/* The two rings of programs.h, which the thread fills and the taker empties. */
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

/* Where the bytes find room in one piece; false if nowhere. An empty ring is begun anew
 * at its beginning, so that little of it is touched. */
static bool find_room(struct procconn_programs *programs, size_t size, uint64_t *at)
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
    struct program_entry *place = procconn_program_at(programs, index);

    if (index - atomic_load(&programs->released) == MOST_ENTRIES) {
        procconn_note_missed(programs, entry->exec.timestamp_ns, entry->exec.timestamp_ns);
        return;
    }
    *place = *entry;
    if (!find_room(programs, entry->size, &at)) {
        at = programs->stored_bytes;
        place->size = 0;
        place->missing = PROCCONN_BUSY;
        place->exec.is_read = 0;
    }
    memcpy(programs->bytes + at % MOST_BYTES, trailer, place->size);
    place->at = at;
    programs->stored_bytes = at + place->size;
    atomic_store(&programs->stored, index + 1);
}

/* What is in front and will not be asked for any more. */
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
