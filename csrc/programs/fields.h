/* Which fields of a program are of its exec, by what the journal says of the process since. */
#ifndef PROCCONN_FIELDS_H
#define PROCCONN_FIELDS_H

#include "draft.h"
#include "journal.h"

enum { MOST_DIRECTORIES = 4096 };

/* What a reading and its EXEC say of the process. Times are CLOCK_MONOTONIC. */
struct field_times {
    uint32_t pid;
    uint64_t start_ticks;
    int64_t stamp_ns; /* of the EXEC */
    int64_t cwd_ns;   /* when the working directory had been read */
    int64_t until_ns; /* a change that was read is stamped no later */
};

/* In which working directory a process was seen last. A later one is in the same place of the
 * table if its pid leaves the same remainder. */
struct directories {
    uint64_t seed;
    struct {
        uint32_t pid;
        uint64_t start_ticks, hash;
        int64_t seen_ns;
    } seen[MOST_DIRECTORIES];
};

/* Leave out what is, or may be, of later than the exec, and say why; the parent is the one
 * that forked the process, if that is known. */
void procconn_fields_validate(struct draft *draft, const struct field_times *times,
                              const struct journal *journal, struct directories *directories);

#endif
