/*
 * A libFuzzer target: parse arbitrary bytes as a taskstats message, and check the
 * contract in procconn.cdef. A valid record is added to a table, which must return it
 * unchanged.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "usage/table.h"
#include "usage/taskstats.h"

/* The family of the seeds, as in tests/support/taskstats.py. */
enum { FAMILY = 0x1B };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_table(const struct procconn_task_record *record)
{
    struct procconn_task_exit exit = {.pid = record->pid,
                                      .tgid = record->tgid,
                                      .exit_code = record->exit_code,
                                      .timestamp_ns = 2};
    struct usage_arrival arrival = {.until_ns = 1};
    static struct usage_table *table; /* large, so it is allocated once */
    struct procconn_task_record taken;

    if (table == NULL)
        table = usage_table_new();
    CHECK(table != NULL);
    usage_table_compact(table, 1);
    CHECK(usage_table_add(table, record, arrival));
    CHECK(usage_table_take(table, &exit, &taken));
    CHECK(memcmp(&taken, record, sizeof taken) == 0);
    CHECK(!usage_table_take(table, &exit, &taken));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct procconn_task_record record, again;
    uint8_t *exact = NULL;
    uint32_t length;
    int status;

    memset(&record, 0xA5, sizeof record);
    status = procconn_parse_taskstats(data, size, FAMILY, &record);
    CHECK(status == PROCCONN_TASK_NONE || status == PROCCONN_TASK_RECORD ||
          status == PROCCONN_TASK_BAD);
    if (status != PROCCONN_TASK_RECORD)
        return 0;
    CHECK(record.pid != 0);
    CHECK(record.peak_rss != 0);

    /* The parser does not read past the message. */
    memcpy(&length, data, sizeof length);
    CHECK(length >= GENL_ATTRIBUTES_AT + STATS_SMALLEST_SIZE && length <= size);
    exact = malloc(length);
    CHECK(exact != NULL);
    memcpy(exact, data, length);
    memset(&again, 0xA5, sizeof again);
    CHECK(procconn_parse_taskstats(exact, length, FAMILY, &again) == PROCCONN_TASK_RECORD);
    CHECK(memcmp(&record, &again, sizeof record) == 0);
    CHECK(procconn_parse_taskstats(data, size, FAMILY + 1, &again) == PROCCONN_TASK_NONE);
    free(exact);
    check_table(&record);
    return 0;
}
