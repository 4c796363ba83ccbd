/*
 * One process as /proc shows it. Its directory is opened once and all else beneath it,
 * so that all is of one process, though its pid may be used again meanwhile.
 *
 * What it runs may change at any time. Its arguments are the witness: they are read
 * first, as they are the first to be lost, and once more at the end. If they are the
 * same then, all between is of programs that have them; and what was read may be of any
 * that came until the end.
 */
#define _GNU_SOURCE /* CLOCK_BOOTTIME */
#include "proc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "procfile.h"

enum {
    TICK_NS = NS_PER_S / 100,
};

/* A tail while it is made. */
struct draft {
    int directory;
    uint8_t *tail;
    size_t size;
    struct program_header header;
    struct procconn_reading *reading;
};

static int64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

uint64_t procconn_fingerprint(const uint8_t *bytes, size_t size)
{
    uint64_t print = size, word;

    for (; size > 0; bytes += sizeof word, size -= sizeof word) {
        word = 0;
        if (size < sizeof word) {
            memcpy(&word, bytes, size);
            return (print ^ word) * 0x9e3779b97f4a7c15;
        }
        memcpy(&word, bytes, sizeof word);
        print = (print ^ word) * 0x9e3779b97f4a7c15;
        print ^= print >> 32;
    }
    return print;
}

static void clear(struct draft *draft)
{
    draft->header = (struct program_header){.magic = PROGRAM_MAGIC, .version = PROGRAM_VERSION};
    memset(draft->header.ids, 0xFF, sizeof draft->header.ids);
    memset(draft->header.sizes, 0xFF, sizeof draft->header.sizes);
    draft->size = sizeof draft->header;
}

static size_t finish(struct draft *draft, enum procconn_missing missing)
{
    draft->header.flags |= (uint16_t)(missing << PROGRAM_MISSING_SHIFT);
    memcpy(draft->tail, &draft->header, sizeof draft->header);
    return draft->size;
}

size_t procconn_blank_tail(uint8_t *tail, enum procconn_missing missing)
{
    struct draft draft = {.tail = tail};

    clear(&draft);
    return finish(&draft, missing);
}

/* Keeps what has been written behind the draft, unless it is too long. */
static void keep(struct draft *draft, int text, ssize_t size, ssize_t most)
{
    if (size < 0 || size > most)
        return;
    draft->header.sizes[text] = (uint16_t)size;
    draft->size += (size_t)size;
}

/* A process hidden by hidepid looks like none, but cannot be signalled like none. */
static enum procconn_missing why_unreadable(uint32_t pid, int error)
{
    if (error == ENOENT && (kill((pid_t)pid, 0) == 0 || errno == EPERM))
        return PROCCONN_DENIED;
    return error == EACCES || error == EPERM ? PROCCONN_DENIED : PROCCONN_GONE;
}

/* In one call of the kernel, so that all is of one program. */
static int read_arguments(struct draft *draft, int fd)
{
    uint8_t *bytes = draft->tail + draft->size;
    ssize_t size = read(fd, bytes, PROGRAM_MOST_ARGV + 1);

    if (size < 0)
        return errno;
    if (size > PROGRAM_MOST_ARGV || (size > 0 && bytes[size - 1] != 0))
        draft->header.flags |= PROGRAM_CUT;
    if (size > PROGRAM_MOST_ARGV)
        size = PROGRAM_MOST_ARGV;
    draft->reading->is_empty = size == 0;
    draft->reading->print = procconn_fingerprint(bytes, (size_t)size);
    keep(draft, ARGV_TEXT, size, PROGRAM_MOST_ARGV);
    return 0;
}

static bool has_other_arguments(const struct draft *draft, int fd)
{
    const uint8_t *bytes = draft->tail + sizeof draft->header;
    size_t left = draft->header.sizes[ARGV_TEXT];
    bool goes_on = left == PROGRAM_MOST_ARGV;
    uint8_t again[PROCFILE_ROOM];
    off_t at = 0;
    ssize_t size;

    do {
        size = pread(fd, again, sizeof again, at);
        if (size > 0 && (size_t)size > left && goes_on)
            size = (ssize_t)left;
        if (size < 0 || (size_t)size > left || memcmp(bytes + at, again, (size_t)size) != 0)
            return true;
        at += size;
        left -= (size_t)size;
    } while (size > 0 && left > 0);
    return left > 0;
}

static void read_stat(struct draft *draft)
{
    struct procconn_reading *reading = draft->reading;
    struct procconn_stat stat;
    char bytes[PROCFILE_ROOM];
    int64_t asleep_ns = -procconn_now_ns();

    asleep_ns += clock_ns(CLOCK_BOOTTIME); /* rather too much than too little */
    procconn_read_stat(draft->directory, bytes, &stat);
    if (stat.state == 0)
        return;
    memcpy(draft->tail + draft->size, stat.name, stat.name_size);
    keep(draft, NAME_TEXT, (ssize_t)stat.name_size, PROGRAM_MOST_TEXT);
    draft->header.ids[PPID_ID] = stat.ppid;
    if (draft->header.sizes[ARGV_TEXT] < stat.arguments)
        draft->header.flags |= PROGRAM_CUT;
    reading->started_ns = (int64_t)stat.start_ticks * TICK_NS - asleep_ns;
    reading->place = stat.place;
    reading->is_ending = stat.is_ending;
    reading->is_kernels = stat.is_kernels;
}

static void read_link(struct draft *draft, const char *name, int text)
{
    char *bytes = (char *)draft->tail + draft->size;
    ssize_t size = readlinkat(draft->directory, name, bytes, PROGRAM_MOST_TEXT + 1);

    keep(draft, text, size, PROGRAM_MOST_TEXT);
    if (size < 0 && (errno == EACCES || errno == EPERM))
        draft->reading->missing = PROCCONN_DENIED;
}

static void read_ids(struct draft *draft)
{
    struct procconn_ids ids;

    procconn_read_ids(draft->directory, &ids);
    if (!ids.is_known)
        return;
    draft->header.ids[UID_ID] = ids.uid;
    draft->header.ids[EUID_ID] = ids.euid;
    draft->header.ids[GID_ID] = ids.gid;
    draft->header.ids[EGID_ID] = ids.egid;
    draft->reading->is_traced = ids.tracer != 0;
    draft->reading->is_held = ids.state == 't';
}

/* Only the arguments are sure: they were whole before what came then. */
static void tear(struct draft *draft)
{
    uint16_t size = draft->header.sizes[ARGV_TEXT], cut = draft->header.flags;
    struct procconn_stat stat;
    char bytes[PROCFILE_ROOM];

    procconn_read_stat(draft->directory, bytes, &stat);
    draft->reading->missing = stat.state == 0 || stat.is_ending ? PROCCONN_GONE : PROCCONN_LATER;
    clear(draft);
    draft->header.flags = cut;
    keep(draft, ARGV_TEXT, size, PROGRAM_MOST_ARGV);
}

void procconn_read_process(uint32_t pid, uint8_t *tail, struct procconn_reading *reading)
{
    struct draft draft = {.tail = tail, .reading = reading};
    int fd, error;

    *reading = (struct procconn_reading){0};
    clear(&draft);
    draft.directory = procconn_open_process(pid);
    fd = draft.directory < 0 ? -1 : openat(draft.directory, "cmdline", O_RDONLY | O_CLOEXEC);
    error = fd < 0 ? errno : read_arguments(&draft, fd);
    reading->read_ns = reading->done_ns = procconn_now_ns();
    if (error != 0) {
        reading->missing = why_unreadable(pid, error);
    } else {
        reading->is_there = 1;
        read_stat(&draft);
        read_link(&draft, "exe", EXE_TEXT);
        read_link(&draft, "cwd", CWD_TEXT);
        keep(
            &draft, CGROUP_TEXT,
            procconn_read_cgroup(draft.directory, (char *)tail + draft.size, 3 * PROGRAM_MOST_TEXT),
            PROGRAM_MOST_TEXT);
        read_ids(&draft);
        reading->is_torn = has_other_arguments(&draft, fd);
        if (reading->is_torn)
            tear(&draft);
        else
            reading->done_ns = procconn_now_ns();
    }
    if (fd >= 0)
        close(fd);
    if (draft.directory >= 0)
        close(draft.directory);
    reading->size = finish(&draft, reading->missing);
}
