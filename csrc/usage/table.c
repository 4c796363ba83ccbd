#include "usage/table.h"

#include <stdlib.h>
#include <string.h>

enum {
    /* More records than 64 MiB of receive buffer hold, at 1,280 bytes each. Unused entries take no
     * memory. */
    CAPACITY = 1 << 16,

    /* Records whose EXIT may be missing: above MOST_LEFT they are compacted to FEWEST_LEFT. */
    MOST_LEFT = 1 << 13,
    FEWEST_LEFT = 1 << 12,

    BUCKETS = 1 << 12,

    /* More tasks than are between their record and their EXIT at any time, and fewer than end
     * before a PID wrap-around: half of the smallest default of kernel.pid_max. */
    MOST_ENDING = 1 << 14,

    /* How long after records were lost their EXITs may still be sent. */
    GRACE_NS = 100000000,

    /* How long a record waits for an EXIT that may be missing. */
    PATIENCE_NS = 1000000000,
};

struct entry {
    struct procconn_task_record record; /* its pid is 0 once it is taken */
    struct usage_arrival arrival;
    bool is_ambiguous; /* its EXIT may have consumed another record */
    uint32_t number;   /* number of earlier records that have an EXIT */
    uint32_t next;     /* the previous one in its bucket, counted from 1; 0: none */
};

struct usage_table {
    int64_t missing_until_ns; /* records of EXITs before that may be missing */
    int64_t compacted_ns;
    uint32_t number;  /* number of records that have an EXIT */
    uint32_t reached; /* `number` of the newest record that met its EXIT */
    uint32_t used;    /* entries in use, oldest first */
    uint32_t taken;   /* of the entries in use */
    uint32_t buckets[BUCKETS];
    struct entry entries[CAPACITY];
};

/* The records that match an EXIT. */
struct candidates {
    struct entry *oldest;
    bool is_unique; /* the oldest is the EXIT's */
};

struct usage_table *usage_table_new(void)
{
    return calloc(1, sizeof(struct usage_table));
}

void usage_table_begin(struct usage_table *table, int64_t now_ns)
{
    table->missing_until_ns = now_ns;
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

static void link_entry(struct usage_table *table, struct entry entry)
{
    uint32_t *bucket = &table->buckets[entry.record.pid % BUCKETS];

    entry.next = *bucket;
    table->entries[table->used++] = entry;
    *bucket = table->used;
}

static bool may_be_left(const struct entry *entry)
{
    return entry->record.pid != 0 && (entry->arrival.exit_may_be_missing || entry->is_ambiguous);
}

static uint32_t count_left(const struct usage_table *table)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < table->used; i++)
        count += may_be_left(&table->entries[i]);
    return count;
}

/* Close the gaps. Of the records whose EXIT may be missing or is ambiguous, drop those from until
 * until_ns, and all but the newest `most`. */
static void move_together(struct usage_table *table, int64_t until_ns, uint32_t most)
{
    uint32_t used = table->used, left = count_left(table);
    struct entry *entry;

    clear(table);
    for (uint32_t i = 0; i < used; i++) {
        entry = &table->entries[i];
        if (entry->record.pid == 0)
            continue;
        if (may_be_left(entry) && (left-- > most || entry->arrival.until_ns <= until_ns))
            continue;
        link_entry(table, *entry); /* at the same or a lower index */
    }
}

void usage_table_compact(struct usage_table *table, int64_t met_until_ns)
{
    uint32_t waiting = table->used - table->taken;

    if (met_until_ns != 0)
        table->reached = table->number;
    if (waiting == 0)
        clear(table);
    else if (met_until_ns != 0 &&
             (waiting > MOST_LEFT || met_until_ns - table->compacted_ns >= PATIENCE_NS)) {
        move_together(table, met_until_ns - PATIENCE_NS, FEWEST_LEFT);
        table->compacted_ns = met_until_ns;
    } else if (table->taken > waiting && table->used > MOST_LEFT)
        move_together(table, 0, CAPACITY);
}

bool usage_table_add(struct usage_table *table, const struct procconn_task_record *record,
                     struct usage_arrival arrival)
{
    if (table->used == CAPACITY)
        return false;
    if (arrival.until_ns <= table->missing_until_ns) /* EXITs until then take no records */
        arrival.exit_may_be_missing = true;
    link_entry(table,
               (struct entry){.record = *record, .arrival = arrival, .number = table->number});
    table->number += !arrival.exit_may_be_missing;
    return true;
}

void usage_table_note_missing(struct usage_table *table)
{
    for (uint32_t i = 0; i < table->used; i++)
        table->entries[i].arrival.exit_may_be_missing = true;
    table->reached = table->number;
}

/* Whether the record can be that of the EXIT, by its own PID or its leader's. */
static bool fits(const struct usage_table *table, const struct entry *entry,
                 const struct procconn_task_exit *exit, uint32_t pid)
{
    const struct procconn_task_record *record = &entry->record;

    return record->pid == pid && record->exit_code == exit->exit_code &&
           (record->tgid == exit->tgid || record->tgid == 0) &&
           entry->arrival.after_ns < (int64_t)exit->timestamp_ns &&
           (int32_t)(entry->number - table->reached) < MOST_ENDING &&
           (pid == exit->pid || !record->is_last);
}

/* Whether the EXIT of the older of two records was sent first: a thread's exec ended that task. */
static bool is_in_order(const struct entry *older)
{
    return older->record.tgid == older->record.pid && !older->record.is_last;
}

static struct candidates find(struct usage_table *table, const struct procconn_task_exit *exit,
                              uint32_t pid)
{
    struct candidates found = {NULL, true};
    int64_t exit_ns = (int64_t)exit->timestamp_ns;
    bool ends_at_older = exit->has_parent && exit->pid == exit->tgid, is_before = false;
    struct entry *entry;

    for (uint32_t i = table->buckets[pid % BUCKETS]; i != 0; i = entry->next) {
        entry = &table->entries[i - 1];
        if (fits(table, entry, exit, pid)) {
            found.is_unique = found.is_unique && !entry->is_ambiguous;
            if (is_before)
                continue;
            if (found.oldest != NULL)
                found.is_unique = found.is_unique && !entry->arrival.exit_may_be_missing &&
                                  entry->arrival.until_ns > exit_ns && is_in_order(entry);
            found.oldest = entry;
        }
        if (ends_at_older && entry->record.pid == pid && entry->arrival.until_ns <= exit_ns)
            is_before = true;
    }
    return found;
}

static void make_ambiguous(struct usage_table *table, const struct procconn_task_exit *exit,
                           uint32_t pid)
{
    struct entry *entry;

    for (uint32_t i = table->buckets[pid % BUCKETS]; i != 0; i = entry->next) {
        entry = &table->entries[i - 1];
        if (fits(table, entry, exit, pid))
            entry->is_ambiguous = true;
    }
}

bool usage_table_take(struct usage_table *table, const struct procconn_task_exit *exit,
                      struct procconn_task_record *record)
{
    struct candidates found, leaders = {NULL, true};

    if (exit->pid == 0 || (int64_t)exit->timestamp_ns <= table->missing_until_ns)
        return false;
    found = find(table, exit, exit->pid);
    if (exit->pid != exit->tgid && exit->tgid != 0)
        leaders = find(table, exit, exit->tgid);
    if (found.oldest == NULL) {
        found = leaders;
    } else if (leaders.oldest != NULL && found.oldest->arrival.exit_may_be_missing) {
        found.is_unique = false;
    }
    if (found.oldest == NULL)
        return false;
    *record = found.oldest->record;
    if (!found.is_unique)
        make_ambiguous(table, exit, record->pid);
    found.oldest->record.pid = 0;
    table->taken++;
    if ((int32_t)(found.oldest->number - table->reached) > 0)
        table->reached = found.oldest->number;
    return found.is_unique;
}

size_t usage_table_forget(struct usage_table *table, int64_t now_ns)
{
    size_t count = table->used - table->taken;

    clear(table);
    table->missing_until_ns = now_ns + GRACE_NS;
    table->reached = table->number;
    return count;
}
