#include "proc/files.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "procconn.h"

enum {
    /* Fields of stat, as proc(5) numbers them. */
    STATE = 3,
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

ssize_t procconn_read_file(int directory, const char *name, void *bytes, size_t capacity)
{
    int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
    ssize_t size;
    int error;

    if (fd < 0)
        return -1;
    size = read(fd, bytes, capacity);
    error = errno;
    close(fd);
    errno = error;
    return size;
}

/* A process hidden by hidepid is absent in /proc, but kill() does not report ESRCH for it. If the
 * PID was reused in between, its files can be opened now. */
uint32_t procconn_is_hidden(uint32_t pid)
{
    char byte;
    int directory;
    bool is_there;

    if (kill((pid_t)pid, 0) != 0 && errno != EPERM)
        return false;
    directory = procconn_open_process(pid);
    is_there = directory >= 0 && procconn_read_file(directory, "status", &byte, 1) == 1;
    if (directory >= 0)
        close(directory);
    return !is_there;
}

bool procconn_has_changed(int fd, const uint8_t *bytes, size_t size, bool goes_on)
{
    uint8_t again[PROCFILE_CAPACITY];
    off_t at = 0;
    ssize_t count;

    do {
        count = pread(fd, again, sizeof again, at);
        if (count > 0 && (size_t)count > size && goes_on)
            count = (ssize_t)size;
        if (count < 0 || (size_t)count > size || memcmp(bytes + at, again, (size_t)count) != 0)
            return true;
        at += count;
        size -= (size_t)count;
    } while (count > 0 && size > 0);
    return size > 0;
}

/* Return field number `wanted`, starting at *at in field *number, a lower one. */
static uint64_t find_field(char **at, int *number, int wanted)
{
    for (; *number < wanted && **at != 0; ++*at)
        *number += **at == ' ';
    return strtoull(*at, NULL, 10);
}

/* The name is in parentheses and can contain parentheses; no later field has any. */
int procconn_read_stat(int directory, struct procconn_stat *stat)
{
    char bytes[PROCFILE_CAPACITY];
    ssize_t size = procconn_read_file(directory, "stat", bytes, sizeof bytes - 1);
    uint64_t flags, argument_start, argument_end;
    int number = STATE;
    char *at;

    *stat = (struct procconn_stat){0};
    if (size <= 0)
        return size < 0 ? errno : ESRCH;
    bytes[size] = 0;
    at = strrchr(bytes, ')');
    if (at == NULL || at[1] != ' ')
        return EPROTO;
    at += 2;
    stat->state = *at;
    flags = find_field(&at, &number, FLAGS);
    stat->start_ticks = find_field(&at, &number, START_TIME);
    stat->startstack = find_field(&at, &number, START_STACK);
    argument_start = find_field(&at, &number, ARG_START);
    argument_end = find_field(&at, &number, ARG_END);
    stat->is_ending = (flags & FLAG_EXITING) || strchr("ZX", stat->state) != NULL;
    stat->is_kernels = (flags & FLAG_KERNELS) != 0;
    /* execve sets it to the start of the arguments first, and to its final value at the very
     * end. */
    stat->is_in_exec = stat->startstack == 0 || stat->startstack == argument_start;
    if (stat->startstack != 0 && argument_end >= argument_start)
        stat->arguments = argument_end - argument_start;
    return 0;
}

/* Return word `index` of the line that begins with `line`. The name, in the first line, has no
 * newline: the kernel escapes it here. */
static uint64_t word(const char *text, const char *line, int index)
{
    const char *at = strstr(text, line);
    char *end;
    uint64_t value = UINT32_MAX;

    if (at == NULL)
        return value;
    at += strlen(line);
    for (int i = 0; i <= index; i++, at = end)
        value = strtoull(at, &end, 10);
    return value;
}

/* The kernel writes a newline as \n and a backslash as \\. */
static ssize_t unescape_name(const char *bytes, char name[TASK_NAME_CAPACITY])
{
    ssize_t size = 0;

    for (; *bytes != '\n' && *bytes != 0 && size < TASK_NAME_CAPACITY; bytes++) {
        if (*bytes == '\\' && *++bytes == 'n')
            name[size++] = '\n';
        else
            name[size++] = *bytes;
    }
    return size;
}

ssize_t procconn_read_status(int directory, struct procconn_status_file *status,
                             char name[TASK_NAME_CAPACITY])
{
    static const char first[] = "Name:\t", state_line[] = "\nState:\t",
                      switches[] = "\nvoluntary_ctxt_switches:\t";
    char bytes[PROCFILE_CAPACITY];
    ssize_t size = procconn_read_file(directory, "status", bytes, sizeof bytes - 1);
    const char *state;

    *status = (struct procconn_status_file){0};
    if (size <= 0) {
        errno = size < 0 ? errno : ESRCH;
        return -1;
    }
    bytes[size] = 0;
    state = strstr(bytes, state_line);
    if (state == NULL || strncmp(bytes, first, sizeof first - 1) != 0) {
        errno = EPROTO;
        return -1;
    }
    *status = (struct procconn_status_file){
        .state = state[sizeof state_line - 1],
        .ppid = (uint32_t)word(state, "\nPPid:\t", 0),
        .tracer = (uint32_t)word(state, "\nTracerPid:\t", 0),
        .uid = (uint32_t)word(state, "\nUid:\t", 0),
        .euid = (uint32_t)word(state, "\nUid:\t", 1),
        .gid = (uint32_t)word(state, "\nGid:\t", 0),
        .egid = (uint32_t)word(state, "\nGid:\t", 1),
    };
    if (status->tracer != 0 && strstr(state, switches) != NULL)
        status->switches = word(state, switches, 0);
    return name != NULL ? unescape_name(bytes + sizeof first - 1, name) : 0;
}

bool procconn_has_memory(int directory)
{
    char bytes[PROCFILE_CAPACITY];
    ssize_t size = procconn_read_file(directory, "status", bytes, sizeof bytes - 1);

    bytes[size > 0 ? size : 0] = 0;
    return strstr(bytes, "\nVmSize:\t") != NULL;
}

/* Return the longer path: "/" only if both are. */
static char *choose_path(char *one, char *other)
{
    return one == NULL || strlen(other) > strlen(one) ? other : one;
}

/* Among the lines `number:controllers:path`, choose that of cgroup v2, number 0. If it is only the
 * root, as beside containers of v1, choose systemd's; if that is the root too, or absent, the
 * longest path of any other hierarchy. */
ssize_t procconn_read_cgroup(int directory, char *bytes, size_t capacity)
{
    ssize_t size = procconn_read_file(directory, "cgroup", bytes, capacity);
    char *line, *end, *controllers, *path, *best = NULL, *other = NULL;

    if (size <= 0 || (size_t)size == capacity) {
        errno = size < 0 ? errno : ESRCH;
        return -1;
    }
    bytes[size] = 0;
    for (line = bytes; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        *end = 0;
        controllers = strchr(line, ':');
        path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        if (path == NULL)
            continue;
        path++;
        if (strncmp(line, "0::", 3) == 0 ? best == NULL || strcmp(path, "/") != 0
                                         : strncmp(controllers, ":name=systemd:", 14) == 0)
            best = path;
        else
            other = choose_path(other, path);
    }
    if (best == NULL || strcmp(best, "/") == 0)
        best = other != NULL ? choose_path(best, other) : best;
    if (best == NULL) {
        errno = ENOENT;
        return -1;
    }
    size = (ssize_t)strlen(best);
    memmove(bytes, best, (size_t)size);
    return size;
}
