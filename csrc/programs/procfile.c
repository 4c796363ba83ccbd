#define _GNU_SOURCE /* O_PATH */
#include "procfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    /* Fields of stat, as proc(5) numbers them. */
    STATE = 3,
    PPID = 4,
    FLAGS = 9,
    START_TIME = 22,
    START_STACK = 28,
    ARG_START = 48,
    ARG_END = 49,

    /* task flags (linux/sched.h) */
    FLAG_EXITING = 0x4,
    FLAG_KERNELS = 0x200000,
};

int procconn_open_process(uint32_t pid)
{
    char path[sizeof "/proc/4294967295"];

    snprintf(path, sizeof path, "/proc/%u", pid);
    return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

ssize_t procconn_read_file(int directory, const char *name, void *bytes, size_t room)
{
    int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
    ssize_t size;
    int error;

    if (fd < 0)
        return -1;
    size = read(fd, bytes, room);
    error = errno;
    close(fd);
    errno = error;
    return size;
}

/* The name is in brackets and may have brackets itself; the rest is numbers. */
void procconn_read_stat(int directory, char bytes[PROCFILE_ROOM], struct procconn_stat *stat)
{
    uint64_t fields[ARG_END + 1];
    ssize_t size = procconn_read_file(directory, "stat", bytes, PROCFILE_ROOM - 1);
    char *end;

    *stat = (struct procconn_stat){0};
    if (size <= 0)
        return;
    bytes[size] = 0;
    stat->name = strchr(bytes, '(');
    end = strrchr(bytes, ')');
    if (stat->name == NULL || end == NULL || end[1] != ' ')
        return;
    stat->name_size = (size_t)(end - ++stat->name);
    stat->state = end[2];
    end += 3;
    for (int i = STATE + 1; i <= ARG_END; i++)
        fields[i] = strtoull(end, &end, 10);
    stat->ppid = (uint32_t)fields[PPID];
    stat->is_ending = (fields[FLAGS] & FLAG_EXITING) || strchr("ZX", stat->state) != NULL;
    stat->is_kernels = (fields[FLAGS] & FLAG_KERNELS) != 0;
    stat->start_ticks = fields[START_TIME];
    /* 0 where it is hidden, and while an exec has not set it yet, last of all. */
    stat->place = fields[START_STACK];
    if (stat->place != 0 && fields[ARG_END] >= fields[ARG_START])
        stat->arguments = fields[ARG_END] - fields[ARG_START];
}

/* The word number `index` in the line that begins so. The name, in the first line, has
 * no newline: the kernel escapes it here. */
static uint32_t word(const char *text, const char *line, int index)
{
    const char *at = strstr(text, line);
    char *end;
    uint32_t value = UINT32_MAX;

    if (at == NULL)
        return value;
    at += strlen(line);
    for (int i = 0; i <= index; i++, at = end)
        value = (uint32_t)strtoul(at, &end, 10);
    return value;
}

void procconn_read_ids(int directory, struct procconn_ids *ids)
{
    char bytes[PROCFILE_ROOM];
    ssize_t size = procconn_read_file(directory, "status", bytes, sizeof bytes - 1);
    const char *state;

    *ids = (struct procconn_ids){0};
    if (size <= 0)
        return;
    bytes[size] = 0;
    state = strstr(bytes, "\nState:\t");
    *ids = (struct procconn_ids){
        .is_known = true,
        .tracer = word(bytes, "\nTracerPid:\t", 0),
        .uid = word(bytes, "\nUid:\t", 0),
        .euid = word(bytes, "\nUid:\t", 1),
        .gid = word(bytes, "\nGid:\t", 0),
        .egid = word(bytes, "\nGid:\t", 1),
        .state = state != NULL ? state[sizeof "\nState:\t" - 1] : 0,
    };
}

/* Of the lines `number:controllers:path`, that of version 2, number 0. Where it has
 * only the root, as beside containers of version 1, systemd's. */
ssize_t procconn_read_cgroup(int directory, char *bytes, size_t room)
{
    ssize_t size = procconn_read_file(directory, "cgroup", bytes, room);
    char *line, *end, *second, *path, *best = NULL;

    if (size <= 0 || (size_t)size == room)
        return -1;
    bytes[size] = 0;
    for (line = bytes; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        *end = 0;
        second = strchr(line, ':');
        path = second != NULL ? strchr(second + 1, ':') : NULL;
        if (path == NULL)
            continue;
        path++;
        if (strncmp(line, "0::", 3) == 0 ? best == NULL || strcmp(path, "/") != 0
                                         : strncmp(second, ":name=systemd:", 14) == 0)
            best = path;
    }
    if (best == NULL)
        return -1;
    size = (ssize_t)strlen(best);
    memmove(bytes, best, (size_t)size);
    return size;
}
