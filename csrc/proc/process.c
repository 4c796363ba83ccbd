/*
 * Read one process as /proc shows it. Its directory is opened once, and everything else relative to
 * it, so that all of it belongs to one process even if the PID is reused meanwhile.
 *
 * The order of the steps proves which of its programs was read: the memory is opened after
 * everything else was read, and `stat`, which shows an exec in progress, is read after that.
 * programs/validate.c has the rule.
 */
#include "proc/process.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proc/files.h"
#include "proc/memory.h"
#include "system/system.h"

enum {
    TICK_NS = NS_PER_S / 100,
};

/* A reading in progress. */
struct visit {
    int directory, arguments; /* descriptors */
    struct builder builder;
    struct procconn_reading *reading;
};

static int64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

static uint8_t *end_of(struct visit *visit)
{
    return visit->builder.trailer + visit->builder.size;
}

static void note_error(struct visit *visit, int error)
{
    if (error == EMFILE || error == ENFILE || error == ENOMEM) {
        builder_note(&visit->builder, PROCCONN_LIMIT);
        visit->reading->error = error;
    } else if (error == EACCES || error == EPERM) {
        builder_note(&visit->builder, PROCCONN_DENIED);
    }
}

static void keep(struct visit *visit, int text, ssize_t size)
{
    if (size < 0)
        note_error(visit, errno);
    builder_keep(&visit->builder, text, size);
}

/* Read the arguments with one read(2), so that all are of one program. If they just fit, the NUL
 * after the last one is left out. */
static int read_arguments(struct visit *visit)
{
    uint8_t *bytes = end_of(visit);
    ssize_t size = read(visit->arguments, bytes, PROGRAM_MOST_ARGV + 2);

    if (size < 0)
        return errno;
    if (size > PROGRAM_MOST_ARGV + 1 || (size > 0 && bytes[size - 1] != 0))
        visit->builder.header.flags |= PROGRAM_CUT;
    if (size > PROGRAM_MOST_ARGV)
        size = PROGRAM_MOST_ARGV;
    visit->reading->is_empty = size == 0;
    keep(visit, ARGV_TEXT, size);
    return 0;
}

static void read_status(struct visit *visit)
{
    struct program_header *header = &visit->builder.header;
    struct procconn_status_file status;

    keep(visit, NAME_TEXT, procconn_read_status(visit->directory, &status, (char *)end_of(visit)));
    if (status.state == 0)
        return;
    header->ids[PPID_ID] = status.ppid;
    header->ids[UID_ID] = status.uid;
    header->ids[EUID_ID] = status.euid;
    header->ids[GID_ID] = status.gid;
    header->ids[EGID_ID] = status.egid;
    visit->reading->is_traced = status.tracer != 0;
}

/* Read the tracer again, and the count of its stops: a thread that execs has its own count. A
 * process can also have itself traced, without an event, but not execute a program within that
 * time. */
static void read_tracer(struct visit *visit, int64_t status_ns)
{
    enum { SHORTEST_EXEC_NS = 50000 };
    struct procconn_status_file status;

    if (!visit->reading->is_traced && procconn_now_ns() - status_ns < SHORTEST_EXEC_NS)
        return;
    procconn_read_status(visit->directory, &status, NULL);
    visit->reading->is_traced |= status.tracer != 0;
    visit->reading->switches = status.switches;
}

static void read_stat(struct visit *visit)
{
    struct procconn_reading *reading = visit->reading;
    size_t size = visit->builder.header.sizes[ARGV_TEXT];
    int64_t asleep_ns = -procconn_now_ns();
    struct procconn_stat stat;
    int error;

    asleep_ns += clock_ns(CLOCK_BOOTTIME); /* rounded up, so that started_ns is not too late */
    error = procconn_read_stat(visit->directory, &stat);
    if (error != 0) {
        note_error(visit, error);
        reading->is_ending = error == ESRCH || error == ENOENT;
        reading->is_in_exec = 1; /* or may be */
        return;
    }
    reading->is_ending = stat.is_ending;
    reading->started_ns = (int64_t)stat.start_ticks * TICK_NS - asleep_ns;
    reading->start_ticks = stat.start_ticks;
    reading->startstack = stat.startstack;
    reading->is_kernels = stat.is_kernels;
    reading->is_in_exec = stat.is_in_exec;
    /* The process can prevent the rest from being read. If this is the size of a later program's
     * arguments, the memory that was opened has ended. */
    if (size < PROGRAM_MOST_ARGV && size < stat.arguments &&
        (reading->memory < 0 || procconn_memory_lives(reading->memory)))
        visit->builder.header.flags |= PROGRAM_CUT;
}

/* Without the memory as proof, the arguments must be the same at the end. */
static void compare_arguments(struct visit *visit)
{
    const uint8_t *bytes = visit->builder.trailer + sizeof visit->builder.header;
    size_t size = visit->builder.header.sizes[ARGV_TEXT];

    if (visit->reading->is_ending ||
        !procconn_has_changed(visit->arguments, bytes, size, size == PROGRAM_MOST_ARGV))
        return;
    visit->reading->is_torn = 1;
    visit->builder.missing = PROCCONN_LATER;
    builder_clear(&visit->builder);
}

/* A text that is read before its offset in the trailer is known. */
struct text {
    ssize_t size;
    int error;
    char bytes[3 * PROGRAM_MOST_TEXT];
};

static void read_link(const struct visit *visit, const char *name, struct text *text)
{
    text->size = readlinkat(visit->directory, name, text->bytes, PROGRAM_MOST_TEXT + 1);
    text->error = errno;
}

static void keep_text(struct visit *visit, int number, const struct text *text)
{
    if (text->size > 0)
        memcpy(end_of(visit), text->bytes, (size_t)text->size);
    errno = text->error;
    keep(visit, number, text->size);
}

/* The order matters. First comes what changes first; then the memory, after everything that it
 * proves, and right after the check for a tracer; then stat, which shows an exec in progress. */
static void read_all(struct visit *visit, bool pin)
{
    struct procconn_reading *reading = visit->reading;
    struct text cwd, exe, cgroup;
    int64_t status_ns;

    read_link(visit, "cwd", &cwd);
    reading->cwd_ns = procconn_now_ns();
    read_link(visit, "exe", &exe);
    cgroup.size = procconn_read_cgroup(visit->directory, cgroup.bytes, sizeof cgroup.bytes);
    cgroup.error = errno;
    status_ns = procconn_now_ns();
    read_status(visit);
    if (pin)
        reading->memory = procconn_memory_open(visit->directory);
    read_tracer(visit, status_ns);
    read_stat(visit);
    keep_text(visit, EXE_TEXT, &exe);
    keep_text(visit, CWD_TEXT, &cwd);
    keep_text(visit, CGROUP_TEXT, &cgroup);
    if (reading->memory < 0)
        compare_arguments(visit);
    if (reading->is_ending) { /* the kernel may then show another cgroup, "/" */
        builder_drop(&visit->builder, CGROUP_TEXT);
        builder_note(&visit->builder, PROCCONN_GONE);
    }
}

/* A process without arguments may be in the middle of an exec, which would block stat, the link
 * to the working directory and the memory. status does not block, and an ending process has no
 * memory. */
static void look_without_arguments(struct visit *visit)
{
    visit->reading->is_ending = !procconn_has_memory(visit->directory);
    visit->builder.missing = visit->reading->is_ending ? PROCCONN_GONE : PROCCONN_LATER;
    builder_clear(&visit->builder);
}

void procconn_read_process(uint32_t pid, uint32_t pin, uint8_t *trailer,
                           struct procconn_reading *reading)
{
    struct visit visit = {.arguments = -1, .builder.trailer = trailer, .reading = reading};
    int error;

    *reading = (struct procconn_reading){.memory = -1};
    builder_clear(&visit.builder);
    visit.directory = procconn_open_process(pid);
    if (visit.directory >= 0)
        visit.arguments = openat(visit.directory, "cmdline", O_RDONLY | O_CLOEXEC);
    error = visit.arguments < 0 ? errno : read_arguments(&visit);
    if (error == ENOENT && procconn_is_hidden(pid))
        error = EACCES;
    reading->is_there = error != ENOENT && error != ESRCH;
    reading->read_ns = procconn_now_ns();
    if (error != 0) {
        note_error(&visit, error);
        if (visit.builder.missing == PROCCONN_COMPLETE)
            visit.builder.missing = PROCCONN_GONE;
    } else if (pin && reading->is_empty) {
        look_without_arguments(&visit);
    } else {
        read_all(&visit, pin != 0);
    }
    reading->done_ns = procconn_now_ns();
    if (visit.arguments >= 0)
        close(visit.arguments);
    if (visit.directory >= 0)
        close(visit.directory);
    reading->missing = visit.builder.missing;
    reading->size = builder_finish(&visit.builder);
}
