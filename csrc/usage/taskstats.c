#include "usage/taskstats.h"

#include <stddef.h>

#include "wire/message.h"

/* Kernel headers before 5.19 have no ac_tgid, and those of version 15 have it at another offset. */
#if __has_include(<linux/taskstats.h>)
#include <linux/taskstats.h>
#if TASKSTATS_VERSION >= 12 && TASKSTATS_VERSION != 15
#define ASSERT_AT(offset, field)                                                                   \
    _Static_assert((offset) == offsetof(struct taskstats, field), #field " is elsewhere")
ASSERT_AT(STATS_VERSION_AT, version);
ASSERT_AT(STATS_EXIT_CODE_AT, ac_exitcode);
ASSERT_AT(STATS_CPU_COUNT_AT, cpu_count);
ASSERT_AT(STATS_CPU_DELAY_AT, cpu_delay_total);
ASSERT_AT(STATS_CPU_RUN_VIRTUAL_AT, cpu_run_virtual_total);
ASSERT_AT(STATS_ELAPSED_US_AT, ac_etime);
ASSERT_AT(STATS_USER_US_AT, ac_utime);
ASSERT_AT(STATS_SYSTEM_US_AT, ac_stime);
ASSERT_AT(STATS_MINOR_FAULTS_AT, ac_minflt);
ASSERT_AT(STATS_MAJOR_FAULTS_AT, ac_majflt);
ASSERT_AT(STATS_PEAK_RSS_KIB_AT, hiwater_rss);
ASSERT_AT(STATS_PEAK_VM_KIB_AT, hiwater_vm);
ASSERT_AT(STATS_READ_CHARS_AT, read_char);
ASSERT_AT(STATS_WRITE_CHARS_AT, write_char);
ASSERT_AT(STATS_READ_BYTES_AT, read_bytes);
ASSERT_AT(STATS_WRITE_BYTES_AT, write_bytes);
ASSERT_AT(STATS_SWITCHES_AT, nvcsw);
ASSERT_AT(STATS_INVOLUNTARY_AT, nivcsw);
ASSERT_AT(STATS_SMALLEST_SIZE, ac_utimescaled);
ASSERT_AT(STATS_TGID_AT, ac_tgid);
#endif
#endif

_Static_assert(offsetof(struct procconn_task_record, elapsed_ns) ==
                   offsetof(struct procconn_task_record, cpu_ns) +
                       (USAGE_COUNT - 1) * USAGE_VALUE_SIZE,
               "the values are as a trailer has them, one after the other");

enum {
    NS_PER_US = 1000,
    BYTES_PER_KIB = 1024,
};

const uint8_t *procconn_find_attribute(const uint8_t *bytes, size_t size, unsigned type,
                                       size_t *found)
{
    size_t length, span;

    *found = 0;
    while (size >= ATTRIBUTE_HEADER_SIZE) {
        length = procconn_load_u16(bytes);
        if (length < ATTRIBUTE_HEADER_SIZE || length > size)
            return NULL;
        if ((procconn_load_u16(bytes + ATTRIBUTE_TYPE_AT) & ATTRIBUTE_TYPE_MASK) == type) {
            *found = length - ATTRIBUTE_HEADER_SIZE;
            return bytes + ATTRIBUTE_HEADER_SIZE;
        }
        span = length + -length % NLMSG_ALIGNMENT;
        if (span >= size)
            return NULL;
        bytes += span;
        size -= span;
    }
    return NULL;
}

/*
 * The scheduler updates its count at ticks and switches, so the last 10 ms can be missing: most of
 * a short command. But a task that never gave up the CPU was always either running or waiting for
 * it.
 */
static uint64_t cpu_time(const uint8_t *stats, const uint8_t *moved,
                         const struct procconn_task_record *record)
{
    uint64_t counted_ns = procconn_load_u64(moved + STATS_CPU_RUN_VIRTUAL_AT);
    uint64_t waited_ns = procconn_load_u64(stats + STATS_CPU_DELAY_AT);

    /* Every task has run before it ends, so 0 means that CONFIG_TASK_DELAY_ACCT is not built in. */
    if (procconn_load_u64(stats + STATS_CPU_COUNT_AT) == 0)
        return USAGE_UNKNOWN;
    if (record->switches == 0 && record->elapsed_ns > waited_ns &&
        record->elapsed_ns - waited_ns > counted_ns)
        return record->elapsed_ns - waited_ns;
    return counted_ns;
}

/* Fill the record from a struct taskstats. Returns false if it is too short. */
static bool parse_stats(const uint8_t *stats, size_t size, struct procconn_task_record *record)
{
    unsigned version;
    const uint8_t *moved; /* base of the fields after the delays */
    size_t tgid_at;

    if (size < STATS_SMALLEST_SIZE)
        return false;
    version = procconn_load_u16(stats + STATS_VERSION_AT);
    moved = stats;
    tgid_at = STATS_TGID_AT;
    if (version == STATS_VERSION_SHIFTED) {
        if (size < STATS_SMALLEST_SIZE + STATS_SHIFT)
            return false;
        moved += STATS_SHIFT;
        tgid_at += STATS_TGID_SHIFT;
    }
    record->exit_code = procconn_load_u32(stats + STATS_EXIT_CODE_AT);
    record->tgid = record->is_last = 0;
    if (version >= STATS_VERSION_WITH_TGID && size >= tgid_at + STATS_TGID_SIZE) {
        record->tgid = procconn_load_u32(stats + tgid_at);
        record->is_last = (stats[STATS_FLAGS_AT] & STATS_FLAG_LAST) != 0;
    }
    record->user_ns = procconn_load_u64(moved + STATS_USER_US_AT) * NS_PER_US;
    record->system_ns = procconn_load_u64(moved + STATS_SYSTEM_US_AT) * NS_PER_US;
    record->peak_rss = procconn_load_u64(moved + STATS_PEAK_RSS_KIB_AT) * BYTES_PER_KIB;
    record->read_bytes = procconn_load_u64(moved + STATS_READ_BYTES_AT);
    record->write_bytes = procconn_load_u64(moved + STATS_WRITE_BYTES_AT);
    record->read_chars = procconn_load_u64(moved + STATS_READ_CHARS_AT);
    record->write_chars = procconn_load_u64(moved + STATS_WRITE_CHARS_AT);
    record->minor_faults = procconn_load_u64(moved + STATS_MINOR_FAULTS_AT);
    record->major_faults = procconn_load_u64(moved + STATS_MAJOR_FAULTS_AT);
    record->switches = procconn_load_u64(moved + STATS_SWITCHES_AT);
    record->involuntary_switches = procconn_load_u64(moved + STATS_INVOLUNTARY_AT);
    record->elapsed_ns = procconn_load_u64(moved + STATS_ELAPSED_US_AT) * NS_PER_US;
    record->cpu_ns = cpu_time(stats, moved, record);

    /* No memory was mapped: a kernel thread, or extended accounting is not built in
     * (CONFIG_TASK_XACCT). */
    if (procconn_load_u64(moved + STATS_PEAK_VM_KIB_AT) == 0)
        record->read_chars = record->write_chars = USAGE_UNKNOWN;
    /* Linux leaves out what a CPU has not yet added to the sum, a few dozen pages. */
    if (record->peak_rss == 0)
        record->peak_rss = USAGE_UNKNOWN;
    return true;
}

int procconn_parse_taskstats(const uint8_t *message, size_t size, uint32_t family,
                             struct procconn_task_record *record)
{
    const uint8_t *task, *pid, *stats;
    size_t length, task_size, pid_size, stats_size;

    if (size < NLMSG_HEADER_SIZE)
        return PROCCONN_TASK_BAD;
    length = procconn_load_u32(message + NLMSG_LEN_AT);
    if (length < NLMSG_HEADER_SIZE || length > size)
        return PROCCONN_TASK_BAD;
    if (procconn_load_u16(message + NLMSG_TYPE_AT) != family)
        return PROCCONN_TASK_NONE;
    if (length < GENL_ATTRIBUTES_AT)
        return PROCCONN_TASK_BAD;
    if (message[GENL_CMD_AT] != TASKSTATS_COMMAND_NEW)
        return PROCCONN_TASK_NONE;

    task = procconn_find_attribute(message + GENL_ATTRIBUTES_AT, length - GENL_ATTRIBUTES_AT,
                                   TASKSTATS_ATTRIBUTE_AGGR_PID, &task_size);
    if (task == NULL)
        return PROCCONN_TASK_BAD;
    pid = procconn_find_attribute(task, task_size, TASKSTATS_ATTRIBUTE_PID, &pid_size);
    stats = procconn_find_attribute(task, task_size, TASKSTATS_ATTRIBUTE_STATS, &stats_size);
    if (pid == NULL || pid_size < WORD_SIZE || stats == NULL)
        return PROCCONN_TASK_BAD;
    record->pid = procconn_load_u32(pid);
    if (record->pid == 0 || !parse_stats(stats, stats_size, record))
        return PROCCONN_TASK_BAD;
    return PROCCONN_TASK_RECORD;
}

void procconn_write_usage(const struct procconn_task_record *record, uint8_t *trailer)
{
    static const struct {
        uint32_t magic;
        uint16_t version, flags;
    } beginning = {.magic = USAGE_MAGIC, .version = USAGE_VERSION};

    _Static_assert(sizeof beginning == TRAILER_BEGINNING_SIZE, "a trailer begins with 8 bytes");
    memcpy(trailer, &beginning, sizeof beginning);
    memcpy(trailer + sizeof beginning, &record->cpu_ns, USAGE_SIZE - sizeof beginning);
}
