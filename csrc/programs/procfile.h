/* The files of one process in /proc, beneath its directory. */
#ifndef PROCCONN_PROCFILE_H
#define PROCCONN_PROCFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What `stat` tells. */
struct procconn_stat {
    char state;       /* 0 if it could not be read */
    const char *name; /* in the bytes read; any bytes but NUL */
    size_t name_size;
    uint32_t ppid;
    bool is_ending, is_kernels;
    uint64_t start_ticks; /* since boot, in hundredths of a second */
    uint64_t place;       /* of its program's stack, random at each exec; 0 if hidden */
    uint64_t arguments;   /* how many bytes they should have; 0 if hidden */
};

/* What `status` tells. */
struct procconn_ids {
    bool is_known;
    uint32_t tracer, uid, euid, gid, egid;
    char state;
};

enum { PROCFILE_ROOM = 2048 }; /* for all of stat, and what status tells first */

/* The directory of a process, for the functions below; or -1 with errno. */
int procconn_open_process(uint32_t pid);

/* Like open and one read(2). */
ssize_t procconn_read_file(int directory, const char *name, void *bytes, size_t room);

void procconn_read_stat(int directory, char bytes[PROCFILE_ROOM], struct procconn_stat *stat);
void procconn_read_ids(int directory, struct procconn_ids *ids);

/* Writes the path of the control group, not ended by NUL. Returns its size, -1 if there
 * is none, or it needs more than a third of the room. */
ssize_t procconn_read_cgroup(int directory, char *bytes, size_t room);

#endif
