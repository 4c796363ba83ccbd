/*
 * A field can change between the exec and its reading. A change of the IDs or of the name causes an
 * event with the new value, so a value that no event since the exec has is that of the exec. The
 * parent is in the FORK. Without a FORK, the parent that was read is kept unless some process,
 * which may have been the parent, ended in between.
 *
 * The working directory changes without an event. It is kept if it was read so soon that no program
 * has been observed to change it by then, or if the process was in the same one before: itself at
 * an earlier exec, or its parent both before the fork and now. That is no proof.
 */
#include "programs/fields.h"

#include <string.h>

enum { SURE_NS = 300000 };

static const uint8_t *text_of(const struct builder *builder, int text)
{
    const uint8_t *bytes = builder->trailer + sizeof builder->header;

    for (int i = 0; i < text; i++)
        if (builder->header.sizes[i] != PROGRAM_ABSENT)
            bytes += builder->header.sizes[i];
    return bytes;
}

static void drop_ids(struct builder *builder, int first, enum procconn_missing missing)
{
    builder->header.ids[first] = builder->header.ids[first + 1] = PROGRAM_UNKNOWN;
    builder_note(builder, missing);
}

static void validate_ids(struct builder *builder, const struct field_times *times,
                         const struct journal *journal)
{
    uint32_t *ids = builder->header.ids;

    if (!procconn_journal_covers(journal, PROCCONN_UID, times->pid, times->timestamp_ns,
                                 times->until_ns)) {
        drop_ids(builder, UID_ID, PROCCONN_BUSY);
        drop_ids(builder, GID_ID, PROCCONN_BUSY);
    }
    if (procconn_journal_has_ids(journal, PROCCONN_UID, times->pid, ids + UID_ID,
                                 times->timestamp_ns, times->until_ns))
        drop_ids(builder, UID_ID, PROCCONN_CHANGED);
    if (procconn_journal_has_ids(journal, PROCCONN_GID, times->pid, ids + GID_ID,
                                 times->timestamp_ns, times->until_ns))
        drop_ids(builder, GID_ID, PROCCONN_CHANGED);
}

static void validate_name(struct builder *builder, const struct field_times *times,
                          const struct journal *journal)
{
    bool is_known = procconn_journal_covers(journal, PROCCONN_COMM, times->pid, times->timestamp_ns,
                                            times->until_ns);

    if (builder->header.sizes[NAME_TEXT] == PROGRAM_ABSENT)
        return;
    if (is_known && !procconn_journal_has_name(journal, times->pid, text_of(builder, NAME_TEXT),
                                               builder->header.sizes[NAME_TEXT],
                                               times->timestamp_ns, times->until_ns))
        return;
    builder_drop(builder, NAME_TEXT);
    builder_note(builder, is_known ? PROCCONN_CHANGED : PROCCONN_BUSY);
}

static void validate_parent(struct builder *builder, const struct field_times *times,
                            const struct journal *journal, const struct change *fork)
{
    if (fork != NULL) {
        builder->header.ids[PPID_ID] = fork->words[0];
    } else if (procconn_journal_has_end(journal, times->timestamp_ns, times->until_ns)) {
        builder->header.ids[PPID_ID] = PROGRAM_UNKNOWN;
        builder_note(builder, PROCCONN_CHANGED);
    }
}

bool procconn_fields_in_time(int64_t timestamp_ns, int64_t cwd_ns)
{
    return cwd_ns - timestamp_ns <= SURE_NS;
}

/* Whether the process was already in that working directory before before_ns. */
static bool was_seen(const struct directories *directories, const struct sighting *now,
                     int64_t before_ns)
{
    const struct sighting *seen = &directories->seen[now->pid % MOST_DIRECTORIES];

    return seen->pid == now->pid && seen->start_ticks == now->start_ticks &&
           seen->hash == now->hash && seen->seen_ns < before_ns;
}

static void remember(struct directories *directories, const struct sighting *now)
{
    directories->seen[now->pid % MOST_DIRECTORIES] = *now;
}

/* Whether the parent was in that working directory both before the fork and after the exec. */
static bool is_parents(struct directories *directories, const struct sighting *parent,
                       const struct change *fork, uint64_t hash)
{
    bool is_same = parent->hash == hash && was_seen(directories, parent, fork->timestamp_ns);

    if (!is_same)
        remember(directories, parent);
    return is_same;
}

static void validate_cwd(struct builder *builder, const struct field_times *times,
                         const struct change *fork, struct directories *directories)
{
    uint16_t size = builder->header.sizes[CWD_TEXT];
    struct sighting own = {times->pid, times->start_ticks, 0, times->cwd_ns};
    bool has_parent = fork != NULL && times->parent.pid == fork->words[0];

    if (size == PROGRAM_ABSENT)
        return;
    own.hash = builder_hash(text_of(builder, CWD_TEXT), size, directories->seed);
    if (procconn_fields_in_time(times->timestamp_ns, times->cwd_ns) ||
        was_seen(directories, &own, times->timestamp_ns) ||
        (has_parent && is_parents(directories, &times->parent, fork, own.hash))) {
        remember(directories, &own);
        return;
    }
    builder_drop(builder, CWD_TEXT);
    builder_note(builder, PROCCONN_LATE);
}

void procconn_fields_validate(struct builder *builder, const struct field_times *times,
                              const struct journal *journal, struct directories *directories)
{
    const struct change *fork = procconn_journal_fork(journal, times->pid, times->timestamp_ns);

    validate_name(builder, times, journal);
    validate_parent(builder, times, journal, fork);
    validate_ids(builder, times, journal);
    validate_cwd(builder, times, fork, directories);
}
