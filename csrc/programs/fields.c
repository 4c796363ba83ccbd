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
#define _GNU_SOURCE /* readlinkat */
#include "fields.h"

#include <string.h>
#include <unistd.h>

#include "procfile.h"
#include "system.h"

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
    if (draft->header.sizes[NAME_TEXT] != PROGRAM_ABSENT &&
        procconn_journal_has_name(journal, times->pid, text_of(draft, NAME_TEXT),
                                  draft->header.sizes[NAME_TEXT], times->stamp_ns,
                                  times->until_ns)) {
        procconn_draft_drop(draft, NAME_TEXT);
        procconn_draft_note(draft, PROCCONN_CHANGED);
    }
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

/* Where the process is now; 0 if that cannot be read. */
static uint64_t read_directory(const struct directories *directories, uint32_t pid,
                               uint64_t *start_ticks)
{
    uint8_t bytes[PROGRAM_MOST_TEXT + 1];
    int process = procconn_open_process(pid);
    struct procconn_stat stat;
    ssize_t size = -1;

    if (process < 0)
        return 0;
    if (procconn_read_stat(process, &stat) == 0)
        size = readlinkat(process, "cwd", (char *)bytes, sizeof bytes);
    close(process);
    *start_ticks = stat.start_ticks;
    return size < 0 ? 0 : procconn_hash(bytes, (size_t)size, directories->seed);
}

static bool was_in(const struct directories *directories, uint32_t pid, uint64_t start_ticks,
                   uint64_t hash, int64_t before_ns)
{
    size_t place = pid % MOST_DIRECTORIES;

    return directories->seen[place].pid == pid &&
           directories->seen[place].start_ticks == start_ticks &&
           directories->seen[place].hash == hash && directories->seen[place].seen_ns < before_ns;
}

static void remember(struct directories *directories, uint32_t pid, uint64_t start_ticks,
                     uint64_t hash, int64_t seen_ns)
{
    size_t place = pid % MOST_DIRECTORIES;

    directories->seen[place].pid = pid;
    directories->seen[place].start_ticks = start_ticks;
    directories->seen[place].hash = hash;
    directories->seen[place].seen_ns = seen_ns;
}

/* Whether the parent was in that working directory before the fork, and is now. */
static bool is_parents(struct directories *directories, const struct change *fork, uint64_t hash,
                       int64_t now_ns)
{
    uint32_t parent = fork->words[0];
    uint64_t start_ticks = 0, now = read_directory(directories, parent, &start_ticks);
    bool is_same = now == hash && was_in(directories, parent, start_ticks, hash, fork->stamp_ns);

    if (now != 0 && !is_same)
        remember(directories, parent, start_ticks, now, now_ns);
    return is_same;
}

static void validate_cwd(struct draft *draft, const struct field_times *times,
                         const struct change *fork, struct directories *directories)
{
    uint16_t size = draft->header.sizes[CWD_TEXT];
    uint64_t hash;

    if (size == PROGRAM_ABSENT)
        return;
    hash = procconn_hash(text_of(draft, CWD_TEXT), size, directories->seed);
    if (times->cwd_ns - times->stamp_ns <= SURE_NS ||
        was_in(directories, times->pid, times->start_ticks, hash, times->stamp_ns) ||
        (fork != NULL && is_parents(directories, fork, hash, procconn_now_ns()))) {
        remember(directories, times->pid, times->start_ticks, hash, times->cwd_ns);
        return;
    }
    procconn_draft_drop(draft, CWD_TEXT);
    procconn_draft_note(draft, PROCCONN_LATE);
}

void procconn_fields_validate(struct draft *draft, const struct field_times *times,
                              const struct journal *journal, struct directories *directories)
{
    const struct change *fork = procconn_journal_fork(journal, times->pid, times->stamp_ns);

    if (procconn_journal_covers(journal, times->stamp_ns)) {
        validate_ids(draft, times, journal);
        validate_name(draft, times, journal);
        validate_parent(draft, times, journal, fork);
    } else {
        drop_ids(draft, UID_ID, PROCCONN_BUSY);
        drop_ids(draft, GID_ID, PROCCONN_BUSY);
        draft->header.ids[PPID_ID] = PROGRAM_UNKNOWN;
        procconn_draft_drop(draft, NAME_TEXT);
    }
    validate_cwd(draft, times, fork, directories);
}
