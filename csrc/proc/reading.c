/* Read a program: that of an EXEC just received, or of a running process. */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "proc/process.h"

enum { TRIES = 5 };

static void blank(uint8_t *trailer, struct procconn_reading *reading, enum procconn_missing missing)
{
    reading->missing = missing;
    reading->size = procconn_blank_trailer(trailer, missing);
}

void procconn_read_executed(uint32_t pid, uint8_t *trailer, struct procconn_reading *reading)
{
    procconn_read_process(pid, true, trailer, reading);
    /* startstack is hidden from a reader that may not open the memory. */
    if (reading->is_in_exec && !reading->is_ending && reading->memory != -EACCES &&
        reading->memory != -EPERM)
        blank(trailer, reading, PROCCONN_LATER);
}

/* startstack is hidden from a reader that may not trace the process. Then only missing arguments
 * show an exec in progress. */
static bool is_between_programs(const struct procconn_reading *reading)
{
    return reading->is_in_exec && !reading->is_ending && !reading->is_kernels &&
           (reading->is_empty || reading->startstack != 0);
}

static bool is_title(const uint8_t *argv, size_t size)
{
    const uint8_t *end = memchr(argv, 0, size);

    return end != NULL && memchr(argv, ' ', (size_t)(end - argv)) != NULL;
}

/* Drop the padding of a title that a process has written over its arguments, such as "nginx: worker
 * process": its NULs look like empty arguments. A zombie has no arguments, but its other fields are
 * valid. */
static void trim_arguments(uint8_t *trailer, struct procconn_reading *reading)
{
    struct builder builder;
    size_t size, trimmed;

    const uint8_t *argv = trailer + sizeof builder.header;

    builder_resume(&builder, trailer, reading->size);
    if (builder.header.sizes[ARGV_TEXT] == PROGRAM_ABSENT)
        return;
    size = trimmed = builder.header.sizes[ARGV_TEXT];
    while (trimmed > 1 && argv[trimmed - 1] == 0 && argv[trimmed - 2] == 0)
        trimmed--;
    if (size == 0 && reading->is_ending) {
        builder_drop(&builder, ARGV_TEXT);
        builder_note(&builder, PROCCONN_GONE);
    } else if (memchr(argv, 0, size) == argv + trimmed - 1 && is_title(argv, size)) {
        builder_shorten(&builder, ARGV_TEXT, trimmed);
    }
    reading->missing = builder.missing;
    reading->size = builder_finish(&builder);
}

void procconn_read_running(uint32_t pid, uint8_t *trailer, struct procconn_reading *reading)
{
    uint64_t hash = 0, before;
    bool is_sure = false, is_changing;

    /* The next program can have equal arguments, so two readings in a row must be equal. */
    for (int tries = 0; !is_sure && tries < TRIES; tries++) {
        before = hash;
        procconn_read_process(pid, false, trailer, reading);
        hash = builder_hash(trailer, reading->size, reading->startstack);
        is_changing = reading->is_torn || is_between_programs(reading);
        if (is_changing)
            poll(NULL, 0, 1); /* a millisecond: an exec is usually over by then */
        is_sure = tries > 0 && hash == before && !is_changing;
    }
    if (!is_sure)
        blank(trailer, reading, PROCCONN_LATER);
    else
        trim_arguments(trailer, reading);
}
