/* Fill the rings of programs in one thread and empty them in another; count the complete,
 * busy and malformed programs. Compiled with csrc/programs/store.c. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "programs/state.h"

enum { PAUSE = MOST_ENTRIES - 1, ROUNDS = 6 * PAUSE };

static uint32_t size_of(uint32_t serial)
{
    uint32_t noise = serial * 2654435761U >> 16;

    return serial % 7 == 0 ? 0 : serial % 1000 < 900 ? 40 + noise % 400 : 40 + noise % 60000;
}

static void *fill(void *argument)
{
    static uint8_t trailer[PROCCONN_TRAILER_CAPACITY];
    struct procconn_programs *programs = argument;

    for (uint32_t serial = 1; serial <= ROUNDS; serial++) {
        struct program_entry entry = {
            .key = {serial % 2, serial, serial},
            .pid = serial,
            .size = size_of(serial),
            .exec = {.timestamp_ns = serial, .is_read = 1},
        };

        memset(trailer, (int)(serial % 251), entry.size);
        procconn_store_program(programs, &entry, trailer);
        if (serial % PAUSE == 0 && serial < ROUNDS) /* until the rings are empty and start over */
            while (atomic_load(&programs->released) != atomic_load(&programs->stored))
                sched_yield();
    }
    return NULL;
}

static unsigned complete, busy, malformed; /* programs */

static void check(struct procconn_programs *programs, struct program_entry *entry)
{
    const uint8_t *bytes = programs->bytes + entry->at % MOST_BYTES;
    uint32_t serial = entry->pid;

    if (entry->missing == PROCCONN_BUSY) {
        busy += entry->size == 0 && !entry->exec.is_read;
        return;
    }
    if (entry->size != size_of(serial) || entry->at % MOST_BYTES + entry->size > MOST_BYTES)
        malformed++;
    for (uint32_t i = 0; i < entry->size; i++)
        malformed += bytes[i] != serial % 251;
    complete++;
}

int main(void)
{
    struct procconn_programs *programs = calloc(1, sizeof *programs);
    struct program_entry *entry;
    uint32_t last = 0, serial;
    pthread_t thread;
    uint64_t index;

    programs->entries = calloc(MOST_ENTRIES, sizeof *programs->entries);
    programs->bytes = malloc(MOST_BYTES);
    pthread_create(&thread, NULL, fill, programs);
    while (last < ROUNDS - PAUSE) {
        index = atomic_load(&programs->released);
        if (index == atomic_load(&programs->stored))
            continue;
        serial = procconn_program_at(programs, index)->pid;
        entry = procconn_find_program(programs, &(struct program_key){serial % 2, serial, serial},
                                      &index);
        malformed += entry == NULL || serial <= last;
        if (entry == NULL)
            break;
        last = serial;
        check(programs, entry);
        entry->is_taken = serial % 3 != 0; /* every third is never consumed */
        procconn_release_programs(programs, serial % 3 != 0 ? 0 : (int64_t)serial + 1);
    }
    while (last < ROUNDS) { /* release the rest, for which the other thread waits */
        index = atomic_load(&programs->stored);
        last = procconn_program_at(programs, index - 1)->pid;
        procconn_release_programs(programs, INT64_MAX);
    }
    pthread_join(thread, NULL);
    printf("complete %u busy %u malformed %u\n", complete, busy, malformed);
    free(programs->entries);
    free(programs->bytes);
    free(programs);
    return 0;
}
