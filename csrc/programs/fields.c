/*
 * A field can change between the exec and its reading. Ids and the name change with an event
 * that has the new value: a value that no such event had since the exec is that of the exec.
 * The parent is in the FORK; without one, it is the one that was read unless some process
 * ended in between, which may have been the parent.
 *
 * The working directory changes without an event. It is kept if it was read so soon that no
 * program was seen to have changed it by then, or if the process was in the same one before:
 * itself at an earlier exec, or its parent both before the fork and now. That is no proof.
 */
#include "programs/fields.h"

#include <string.h>

enum { SURE_NS = 300000 };

static const uint8_t *text_of(const struct draft *draft, int text)
{
    const uint8_t *bytes = draft->tail + sizeof draft->header;

    for (int i = 0; i < text; i++)
        if (draft->header.sizes[i] != PROGRAM_ABSENT)
            bytes += draft->header.sizes[i];
    return bytes;
}

static void drop_ids(struct draft *draft, int first, enum procconn_missing missing)
{
    draft->header.ids[first] = draft->header.ids[first + 1] = PROGRAM_UNKNOWN;
    procconn_draft_note(draft, missing);
}

static void validate_ids(struct draft *draft, const struct field_times *times,
                         const struct journal *journal)
{
    uint32_t *ids = draft->header.ids;

    if (!procconn_journal_covers(journal, PROCCONN_UID, times->pid, times->stamp_ns,
                                 times->until_ns)) {
        drop_ids(draft, UID_ID, PROCCONN_BUSY);
        drop_ids(draft, GID_ID, PROCCONN_BUSY);
    }
    if (procconn_journal_has_ids(journal, PROCCONN_UID, times->pid, ids + UID_ID, times->stamp_ns,
                                 times->until_ns))
        drop_ids(draft, UID_ID, PROCCONN_CHANGED);
    if (procconn_journal_has_ids(journal, PROCCONN_GID, times->pid, ids + GID_ID, times->stamp_ns,
                                 times->until_ns))
        drop_ids(draft, GID_ID, PROCCONN_CHANGED);
}

static void validate_name(struct draft *draft, const struct field_times *times,
                          const struct journal *journal)
{
    bool is_known = procconn_journal_covers(journal, PROCCONN_COMM, times->pid, times->stamp_ns,
                                            times->until_ns);

    if (draft->header.sizes[NAME_TEXT] == PROGRAM_ABSENT)
        return;
    if (is_known && !procconn_journal_has_name(journal, times->pid, text_of(draft, NAME_TEXT),
                                               draft->header.sizes[NAME_TEXT], times->stamp_ns,
                                               times->until_ns))
        return;
    procconn_draft_drop(draft, NAME_TEXT);
    procconn_draft_note(draft, is_known ? PROCCONN_CHANGED : PROCCONN_BUSY);
}

static void validate_parent(struct draft *draft, const struct field_times *times,
                            const struct journal *journal, const struct change *fork)
{
    if (fork != NULL) {
        draft->header.ids[PPID_ID] = fork->words[0];
    } else if (procconn_journal_has_end(journal, times->stamp_ns, times->until_ns)) {
        draft->header.ids[PPID_ID] = PROGRAM_UNKNOWN;
        procconn_draft_note(draft, PROCCONN_CHANGED);
    }
}

bool procconn_fields_in_time(int64_t stamp_ns, int64_t cwd_ns)
{
    return cwd_ns - stamp_ns <= SURE_NS;
}

/* Whether that process was seen in that working directory before then. */
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

/* Whether the parent was in that working directory before the fork, and after the exec. */
static bool is_parents(struct directories *directories, const struct sighting *parent,
                       const struct change *fork, uint64_t hash)
{
    bool is_same = parent->hash == hash && was_seen(directories, parent, fork->stamp_ns);

    if (!is_same)
        remember(directories, parent);
    return is_same;
}

static void validate_cwd(struct draft *draft, const struct field_times *times,
                         const struct change *fork, struct directories *directories)
{
    uint16_t size = draft->header.sizes[CWD_TEXT];
    struct sighting own = {times->pid, times->start_ticks, 0, times->cwd_ns};
    bool has_parent = fork != NULL && times->parent.pid == fork->words[0];

    if (size == PROGRAM_ABSENT)
        return;
    own.hash = procconn_hash(text_of(draft, CWD_TEXT), size, directories->seed);
    if (procconn_fields_in_time(times->stamp_ns, times->cwd_ns) ||
        was_seen(directories, &own, times->stamp_ns) ||
        (has_parent && is_parents(directories, &times->parent, fork, own.hash))) {
        remember(directories, &own);
        return;
    }
    procconn_draft_drop(draft, CWD_TEXT);
    procconn_draft_note(draft, PROCCONN_LATE);
}

void procconn_fields_validate(struct draft *draft, const struct field_times *times,
                              const struct journal *journal, struct directories *directories)
{
    const struct change *fork = procconn_journal_fork(journal, times->pid, times->stamp_ns);

    validate_name(draft, times, journal);
    validate_parent(draft, times, journal, fork);
    validate_ids(draft, times, journal);
    validate_cwd(draft, times, fork, directories);
}
