/* Validate the fields of a program: which belong to its exec, according to the event journal. */
#ifndef PROCCONN_FIELDS_H
#define PROCCONN_FIELDS_H

#include "programs/journal.h"
#include "wire/builder.h"

enum { MOST_DIRECTORIES = 4096 };

/* A process and its working directory when it was last read. */
struct sighting {
    uint32_t pid;         /* 0: none */
    uint64_t start_ticks; /* of the process, as in stat */
    uint64_t hash;        /* of its working directory */
    int64_t seen_ns;
};

/* What a reading and its EXEC report about the process. Times are CLOCK_MONOTONIC. */
struct field_times {
    uint32_t pid;
    uint64_t start_ticks;
    int64_t timestamp_ns; /* of the EXEC */
    int64_t cwd_ns;       /* when the working directory had been read */
    int64_t until_ns;     /* no change that the reading shows has a later timestamp */
    struct sighting parent;
};

/* Last known working directories. Processes whose PIDs have the same remainder share a slot, and a
 * later one replaces an earlier one. */
struct directories {
    uint64_t seed;
    struct sighting seen[MOST_DIRECTORIES];
};

/* Return whether a working directory read at cwd_ns is that of the exec without more evidence. */
bool procconn_fields_in_time(int64_t timestamp_ns, int64_t cwd_ns);

/* Drop the fields that changed, or may have changed, after the exec, and note why. The parent is
 * the one that forked the process, if the FORK is known. */
void procconn_fields_validate(struct builder *builder, const struct field_times *times,
                              const struct journal *journal, struct directories *directories);

#endif
