#include "usagetable.h"

#include <stdlib.h>
#include <string.h>

enum {
    /* More than the socket holds, at 1,280 bytes a record and 64 MiB. What was never
     * used takes no memory. */
    CAPACITY = 1 << 16,

    /* So many may be left by tasks whose EXIT nobody wants, or is yet to come. */
    MOST_LEFT = 1 << 13,
    FEWEST_LEFT = 1 << 12,

    BUCKETS = 1 << 12,
};

/* An EXIT is sent so soon after the record, but for what other tasks are given the
 * processor in between, and for giving back the task's memory and files. */
static const uint64_t AFTERMATH_NS = 100000000;

struct entry {
    struct procconn_task_record record; /* its pid is 0 once it was taken */
    uint64_t read_ns;
    uint32_t next; /* the one before in its bucket, counted from 1 */
};

struct usage_table {
    uint64_t missing_until_ns;
    uint32_t used;  /* entries from the first on */
    uint32_t taken; /* of those */
    uint32_t buckets[BUCKETS];
    struct entry entries[CAPACITY];
};

struct usage_table *usage_table_new(void)
{
    return calloc(1, sizeof(struct usage_table));
}

void usage_table_free(struct usage_table *table)
{
    free(table);
}

static void clear(struct usage_table *table)
{
    if (table->used == 0)
        return;
    memset(table->buckets, 0, sizeof table->buckets);
    table->used = 0;
    table->taken = 0;
}

void usage_table_tidy(struct usage_table *table)
{
    uint32_t used = table->used, skip;

    if (table->taken == used) {
        clear(table);
    } else if (used > MOST_LEFT) {
        skip = used - table->taken > FEWEST_LEFT ? used - table->taken - FEWEST_LEFT : 0;
        clear(table);
        for (uint32_t i = 0; i < used; i++) { /* each goes to where it was, or before */
            if (table->entries[i].record.pid == 0)
                continue;
            if (skip > 0)
                skip--;
            else
                usage_table_add(table, &table->entries[i].record, table->entries[i].read_ns);
        }
    }
}

bool usage_table_add(struct usage_table *table, const struct procconn_task_record *record,
                     uint64_t read_ns)
{
    uint32_t *bucket = &table->buckets[record->pid % BUCKETS];
    struct entry *entry;

    if (table->used == CAPACITY)
        return false;
    entry = &table->entries[table->used++];
    *entry = (struct entry){*record, read_ns, *bucket};
    *bucket = table->used;
    return true;
}

static bool fits(const struct procconn_task_record *record, const struct procconn_task_exit *exit)
{
    return record->pid == exit->pid && record->exit_code == exit->exit_code &&
           (record->tgid == exit->tgid || record->tgid == 0);
}

/* Whether the record may be of a later task than the EXIT, whose own is missing. */
static bool is_doubtful(const struct usage_table *table, const struct entry *entry,
                        const struct procconn_task_exit *exit)
{
    return exit->timestamp_ns <= table->missing_until_ns + AFTERMATH_NS &&
           entry->read_ns > exit->timestamp_ns + entry->record.elapsed_ns;
}

bool usage_table_take(struct usage_table *table, const struct procconn_task_exit *exit,
                      struct procconn_task_record *record)
{
    uint32_t index = table->buckets[exit->pid % BUCKETS], found = 0;
    struct entry *entry;

    for (; index != 0; index = entry->next) {
        entry = &table->entries[index - 1];
        if (!fits(&entry->record, exit))
            continue;
        *record = entry->record;
        found += is_doubtful(table, entry, exit) ? 2 : 1;
        entry->record.pid = 0;
        table->taken++;
    }
    return found == 1;
}

size_t usage_table_forget(struct usage_table *table, uint64_t missing_until_ns)
{
    size_t count = table->used - table->taken;

    clear(table);
    table->missing_until_ns = missing_until_ns;
    return count;
}
