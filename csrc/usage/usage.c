#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "netlink/batch.h"
#include "system/system.h"
#include "usage/registration.h"
#include "usage/table.h"
#include "usage/taskstats.h"
#include "usage/usage.h"

enum {
    /* The largest message, of a thread group's last task on Linux 6.18, has 1,172 bytes. */
    SLOT_SIZE = 2048,
    BATCH = 16,

    /* A drain ends after this many batches, which hold more records than the table. */
    MOST_BATCHES = 1 << 13,

    /* EXITs of tasks whose records were sent before the registration arrive within this time. */
    SETTLING_NS = 20000000,
};

struct procconn_usage {
    int fd;
    pid_t owner;
    uint16_t family;
    bool has_storage; /* whether the kernel accounts read_bytes and write_bytes */
    uint32_t drops;   /* the kernel's count when it was last read */
    uint64_t lost;
    int64_t drained_ns; /* all records queued before then were received */
    struct usage_table *table;

    struct batch batch;
    uint8_t slots[BATCH][SLOT_SIZE];
};

struct procconn_usage *procconn_usage_open(int receive_buffer, int *error)
{
    struct procconn_usage *usage = calloc(1, sizeof *usage);

    *error = -ENOMEM;
    if (usage == NULL)
        return NULL;
    usage->table = usage_table_new();
    usage->fd = usage->table != NULL ? usage_socket_open(receive_buffer, &usage->family) : -ENOMEM;
    if (usage->fd < 0) {
        *error = usage->fd;
        usage_table_free(usage->table);
        free(usage);
        return NULL;
    }
    usage->owner = getpid();
    batch_init(&usage->batch, usage->slots[0], BATCH, SLOT_SIZE, SLOT_SIZE);
    /* The file exists with CONFIG_TASK_IO_ACCOUNTING; records do not show that. */
    usage->has_storage = access("/proc/self/io", F_OK) == 0;
    nanosleep(&(struct timespec){.tv_nsec = SETTLING_NS}, NULL);
    usage_table_begin(usage->table, procconn_now_ns());
    *error = 0;
    return usage;
}

void procconn_usage_close(struct procconn_usage *usage)
{
    if (usage == NULL)
        return;
    if (getpid() == usage->owner)
        usage_socket_deregister(usage->fd, usage->family);
    close(usage->fd);
    usage_table_free(usage->table);
    free(usage);
}

/* Whether the EXIT may be filtered out. A thread-group leader that other threads outlive can have
 * an EXIT with a thread's PID. */
static bool may_be_filtered_out(const struct procconn_task_record *record,
                                const struct procconn_filter *filter)
{
    bool is_thread = record->tgid != 0 && record->tgid != record->pid;

    return !procconn_filter_matches(filter, PROCCONN_EXIT, is_thread, record->exit_code) ||
           (!record->is_last && (filter->thread_mask & PROCCONN_EXIT) == 0);
}

/* Add the record of a datagram to the table. Returns how many records are lost. */
static unsigned store(struct procconn_usage *usage, size_t i, const struct procconn_filter *filter,
                      int64_t until_ns)
{
    size_t size;
    const uint8_t *datagram = batch_datagram(&usage->batch, i, &size);
    struct usage_arrival arrival = {.after_ns = usage->drained_ns, .until_ns = until_ns};
    struct procconn_task_record record;
    int status;

    if (datagram == NULL)
        return 0;
    status = procconn_parse_taskstats(datagram, size < SLOT_SIZE ? size : SLOT_SIZE, usage->family,
                                      &record);
    if (status != PROCCONN_TASK_RECORD)
        return status == PROCCONN_TASK_BAD;
    if (!usage->has_storage)
        record.read_bytes = record.write_bytes = USAGE_UNKNOWN;
    arrival.exit_may_be_missing = may_be_filtered_out(&record, filter);
    return !usage_table_add(usage->table, &record, arrival);
}

/* Return how many records the kernel has dropped since the last call. */
static uint32_t count_drops(struct procconn_usage *usage)
{
    uint32_t meminfo[MEMINFO_COUNT], drops;

    if (!netlink_read_meminfo(usage->fd, meminfo))
        return 1; /* refused by a sandbox: some may have been dropped */
    drops = meminfo[MEMINFO_DROPS] - usage->drops;
    usage->drops = meminfo[MEMINFO_DROPS];
    return drops;
}

void procconn_usage_drain(struct procconn_usage *usage, const struct procconn_filter *filter,
                          int exits_are_missing)
{
    int64_t began_ns = procconn_now_ns(), until_ns;
    uint64_t lost = 0;
    unsigned batches = 0;
    int count;

    usage_table_compact(usage->table, 0);
    do {
        count = batch_receive(&usage->batch, usage->fd, BATCH, false);
        until_ns = procconn_now_ns();
        for (int i = 0; i < count; i++)
            lost += store(usage, (size_t)i, filter, until_ns);
    } while (count == BATCH && ++batches < MOST_BATCHES);
    lost += count == BATCH; /* some are still queued */
    lost += count_drops(usage);
    usage->drained_ns = began_ns;
    if (exits_are_missing)
        usage_table_note_missing(usage->table);
    if (lost > 0)
        usage->lost += lost + usage_table_forget(usage->table, procconn_now_ns());
}

void procconn_usage_compact(struct procconn_usage *usage, int64_t met_until_ns)
{
    usage_table_compact(usage->table, met_until_ns);
}

int procconn_usage_take(struct procconn_usage *usage, const struct procconn_task_exit *exit,
                        struct procconn_task_record *record)
{
    return usage_table_take(usage->table, exit, record);
}

uint64_t procconn_usage_lost(const struct procconn_usage *usage)
{
    return usage->lost;
}
