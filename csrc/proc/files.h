/* The files of one process in /proc, beneath its directory. */
#ifndef PROCCONN_PROC_FILES_H
#define PROCCONN_PROC_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What `stat` says. */
struct procconn_stat {
    char state; /* 0 if it could not be read */
    bool is_ending, is_kernels;
    bool is_in_exec;      /* where its stack begins is not known, not yet final, or hidden */
    uint64_t start_ticks; /* since boot, in hundredths of a second */
    uint64_t startstack;  /* random at each exec; 0 if hidden */
    uint64_t arguments;   /* size of the arguments in bytes; 0 if hidden */
};

/* What `status` says. */
struct procconn_status_file {
    char state; /* 0 if it could not be read */
    uint32_t tracer, ppid, uid, euid, gid, egid;
    uint64_t switches; /* voluntary ones; 0 if that line was not reached */
};

enum {
    PROCFILE_CAPACITY = 4096, /* for all of stat and, without hundreds of groups, of status */
    TASK_NAME_CAPACITY = 64,  /* for Name of status, unescaped */
};

/* Return a descriptor of the process's directory, for the functions below; -1 with errno. */
int procconn_open_process(uint32_t pid);

/* Like open and one read(2). */
ssize_t procconn_read_file(int directory, const char *name, void *bytes, size_t capacity);

/* Whether a file that was read from has other contents now; `goes_on`: had more of them. */
bool procconn_has_changed(int fd, const uint8_t *bytes, size_t size, bool goes_on);

/* 0 or an errno. */
int procconn_read_stat(int directory, struct procconn_stat *stat);

/* Also writes the task's name, not terminated, unless it is NULL. Returns its size, or -1
 * with errno. */
ssize_t procconn_read_status(int directory, struct procconn_status_file *status,
                             char name[TASK_NAME_CAPACITY]);

/* Whether it has memory of its own: it is not the kernel's, and does not end. By status. */
bool procconn_has_memory(int directory);

/* Write the cgroup's path, not terminated. Returns its size, or -1 with errno if it could
 * not be read or needs more than a third of the capacity. */
ssize_t procconn_read_cgroup(int directory, char *bytes, size_t capacity);

#endif
