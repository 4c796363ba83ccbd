/* Which fields of a program are of its exec, by what the journal says of the process since. */
#ifndef PROCCONN_FIELDS_H
#define PROCCONN_FIELDS_H

#include "programs/journal.h"
#include "wire/builder.h"

enum { MOST_DIRECTORIES = 4096 };

/* Where a process was seen. */
struct sighting {
    uint32_t pid;         /* 0: nowhere */
    uint64_t start_ticks; /* of the process, as in stat */
    uint64_t hash;        /* of its working directory */
    int64_t seen_ns;
};

/* What a reading and its EXEC say of the process. Times are CLOCK_MONOTONIC. */
struct field_times {
    uint32_t pid;
    uint64_t start_ticks;
    int64_t timestamp_ns; /* of the EXEC */
    int64_t cwd_ns;       /* when the working directory had been read */
    int64_t until_ns;     /* a change that was read has no later timestamp */
    struct sighting parent;
};

/* Where processes were seen last. Later ones replace earlier ones whose PIDs leave
 * the same remainder. */
struct directories {
    uint64_t seed;
    struct sighting seen[MOST_DIRECTORIES];
};

/* Whether a working directory that was read then is that of the exec without more evidence. */
bool procconn_fields_in_time(int64_t timestamp_ns, int64_t cwd_ns);

/* Leave out what is, or may be, of later than the exec, and say why; the parent is the one
 * that forked the process, if that is known. */
void procconn_fields_validate(struct builder *builder, const struct field_times *times,
                              const struct journal *journal, struct directories *directories);

#endif
