#include "table.h"

#include <stdlib.h>
#include <string.h>

enum {
    /* More than 64 MiB of receive buffer hold, at 1,280 bytes a record. What was never
     * used takes no memory. */
    CAPACITY = 1 << 16,

    /* So many may be left by tasks whose EXIT nobody wants, or has come since all were met. */
    MOST_LEFT = 1 << 13,
    FEWEST_LEFT = 1 << 12,

    BUCKETS = 1 << 12,
};

struct entry {
    struct procconn_task_record record; /* its pid is 0 once it was taken */
    uint32_t next;                      /* the one before in its bucket, counted from 1 */
};

struct usage_table {
    uint64_t missing_until_ns;
    uint32_t used;    /* entries from the first on, the oldest */
    uint32_t taken;   /* of those */
    uint32_t doubted; /* entries from the first on */
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
    table->doubted = 0;
}

/* Keeps so many of the newest. */
static void compact(struct usage_table *table, uint32_t most)
{
    uint32_t used = table->used, left = used - table->taken, doubted = table->doubted;

    clear(table);
    for (uint32_t i = 0; i < used; i++) {
        if (table->entries[i].record.pid == 0 || left-- > most)
            continue;
        usage_table_add(table, &table->entries[i].record); /* where it was, or before */
        if (i < doubted)
            table->doubted = table->used;
    }
}

void usage_table_tidy(struct usage_table *table, bool all_were_met)
{
    uint32_t left = table->used - table->taken;

    if (left == 0)
        clear(table);
    else if (all_were_met && table->used > MOST_LEFT)
        compact(table, FEWEST_LEFT);
    else if (table->taken > left && table->used > MOST_LEFT)
        compact(table, left);
}

bool usage_table_add(struct usage_table *table, const struct procconn_task_record *record)
{
    uint32_t *bucket = &table->buckets[record->pid % BUCKETS];

    if (table->used == CAPACITY)
        return false;
    table->entries[table->used++] = (struct entry){*record, *bucket};
    *bucket = table->used;
    return true;
}

void usage_table_doubt(struct usage_table *table)
{
    table->doubted = table->used;
}

static bool fits(const struct procconn_task_record *record, const struct procconn_task_exit *exit)
{
    return record->pid == exit->pid && record->exit_code == exit->exit_code &&
           (record->tgid == exit->tgid || record->tgid == 0);
}

/* Returns how many records fit; *is_given tells whether one is surely the EXIT's. */
static uint32_t take(struct usage_table *table, const struct procconn_task_exit *exit,
                     struct procconn_task_record *record, bool *is_given)
{
    struct entry *entry, *oldest = NULL;
    bool one_is_doubted = false;
    uint32_t index, count = 0;

    for (index = table->buckets[exit->pid % BUCKETS]; index != 0; index = entry->next) {
        entry = &table->entries[index - 1];
        if (!fits(&entry->record, exit))
            continue;
        oldest = entry;
        count++;
        one_is_doubted = one_is_doubted || index <= table->doubted;
    }
    *is_given = count == 1 || (count > 1 && !one_is_doubted);
    if (*is_given) {
        *record = oldest->record;
        oldest->record.pid = 0;
        table->taken++;
        return count;
    }
    for (index = table->buckets[exit->pid % BUCKETS]; index != 0; index = entry->next) {
        entry = &table->entries[index - 1];
        if (fits(&entry->record, exit)) {
            entry->record.pid = 0;
            table->taken++;
        }
    }
    return count;
}

bool usage_table_take(struct usage_table *table, const struct procconn_task_exit *exit,
                      struct procconn_task_record *record)
{
    struct procconn_task_exit first = *exit;
    bool is_given;

    if (exit->pid == 0 || exit->timestamp_ns <= table->missing_until_ns)
        return false;
    if (take(table, exit, record, &is_given) == 0 && exit->tgid != 0) {
        first.pid = exit->tgid; /* it may be the same, of which there is none */
        take(table, &first, record, &is_given);
    }
    return is_given;
}

size_t usage_table_forget(struct usage_table *table, uint64_t missing_until_ns)
{
    size_t count = table->used - table->taken;

    clear(table);
    table->missing_until_ns = missing_until_ns;
    return count;
}
