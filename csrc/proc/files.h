/* Read the files of one process in /proc, relative to its directory. */
#ifndef PROCCONN_PROC_FILES_H
#define PROCCONN_PROC_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Fields of /proc/PID/stat. */
struct procconn_stat {
    char state; /* 0 if it could not be read */
    bool is_ending, is_kernels;
    bool is_in_exec;      /* startstack is unknown, not yet final, or hidden */
    uint64_t start_ticks; /* since boot, in hundredths of a second */
    uint64_t startstack;  /* random at each exec; 0 if hidden */
    uint64_t arguments;   /* size of the arguments in bytes; 0 if hidden */
};

/* Fields of /proc/PID/status. */
struct procconn_status_file {
    char state; /* 0 if it could not be read */
    uint32_t tracer, ppid, uid, euid, gid, egid;
    uint64_t switches; /* voluntary ones, of a traced process; 0 if that line was not reached */
};

enum {
    PROCFILE_CAPACITY = 4096, /* holds all of stat, and of status without hundreds of groups */
    TASK_NAME_CAPACITY = 64,  /* holds the Name of status, unescaped */
};

/* Return a descriptor of the process's directory for the functions below; -1 with errno. */
int procconn_open_process(uint32_t pid);

/* Open the file and read(2) from it once. */
ssize_t procconn_read_file(int directory, const char *name, void *bytes, size_t capacity);

/* Return whether a file has changed since it was read; `goes_on`: it had more than `size` bytes. */
bool procconn_has_changed(int fd, const uint8_t *bytes, size_t size, bool goes_on);

/* Returns 0 or an errno. */
int procconn_read_stat(int directory, struct procconn_stat *stat);

/* Read status, and the task's name, not terminated, unless `name` is NULL. Returns the size of the
 * name, or -1 with errno. */
ssize_t procconn_read_status(int directory, struct procconn_status_file *status,
                             char name[TASK_NAME_CAPACITY]);

/* Return whether status shows memory: the process is neither a kernel thread nor ending. */
bool procconn_has_memory(int directory);

/* Write the cgroup's path, not terminated. Returns its size, or -1 with errno if the file could not
 * be read or does not fit. */
ssize_t procconn_read_cgroup(int directory, char *bytes, size_t capacity);

#endif
