/* Take programs in stream order, each once it is validated. */
#include <poll.h>
#include <string.h>

#include "programs/state.h"
#include "wire/decode.h"

enum {
    MOST_FOLLOWING = 32, /* execs of one PID that are validated together */
};

/* The EXEC whose program is to be taken. */
struct question {
    struct program_key key;
    uint32_t pid;
    int64_t timestamp_ns, now_ns;
    int64_t drained_ns; /* the stream has all events until then */
    int64_t again_ns;   /* when to ask again */
};

/* Update known_ns. If the socket is empty and is_reading is false, everything is stored: the thread
 * sets is_reading before it receives. While it reads, the newest entry shows that all with a
 * timestamp more than a latency earlier are stored. */
static void update_known(struct procconn_programs *programs, int64_t now_ns)
{
    struct pollfd watched = {.fd = programs->socket, .events = POLLIN};
    uint64_t stored;
    int64_t known_ns = 0;
    bool is_empty;

    is_empty = poll(&watched, 1, 0) == 0; /* without a lock */
    procconn_order_memory();
    if (is_empty && !atomic_load(&programs->is_reading))
        known_ns = now_ns;
    stored = atomic_load(&programs->stored);
    if (known_ns == 0 && stored != atomic_load(&programs->released))
        known_ns =
            procconn_program_at(programs, stored - 1)->exec.timestamp_ns - programs->latency_ns;
    if (known_ns > programs->known_ns)
        programs->known_ns = known_ns;
}

/* Collect the exec and the later ones of the same PID. Timestamps of two CPUs can be slightly out
 * of order. */
static size_t collect(struct procconn_programs *programs, uint64_t index,
                      const struct question *question, struct procconn_exec *execs)
{
    uint64_t end = atomic_load(&programs->stored);
    size_t count = 0;
    struct program_entry *entry;

    for (; index < end && count < MOST_FOLLOWING; index++) {
        entry = procconn_program_at(programs, index);
        if (count > 0 &&
            entry->exec.timestamp_ns > execs[count - 1].until_ns + programs->latency_ns)
            break;
        if (entry->pid != question->pid ||
            (count > 0 && entry->exec.timestamp_ns < execs[count - 1].timestamp_ns))
            continue;
        traced_check(programs, entry, question->now_ns);
        execs[count++] = entry->exec;
    }
    return count;
}

/* Return when the PID may have been reused, or 0: at its EXIT, or at the FORK of another process
 * with this PID, which shows in /proc slightly before the FORK's timestamp. In a burst the stream
 * may never have all events, but an event that is late enough shows that it has those before. */
static int64_t find_end(const struct procconn_programs *programs, struct question *question,
                        const uint8_t *messages, size_t size, int64_t until_ns)
{
    struct procconn_walk walk = {.buffer = messages, .size = size};
    struct procconn_event event;
    enum procconn_status status;
    int64_t timestamp_ns, ended_ns = 0;

    while ((status = procconn_next(&walk, &event)) > PROCCONN_END) {
        timestamp_ns = status == PROCCONN_EVENT ? (int64_t)event.timestamp_ns : 0;
        if (timestamp_ns > until_ns + programs->latency_ns) {
            question->drained_ns = timestamp_ns - programs->latency_ns;
            break;
        }
        if (ended_ns != 0 || timestamp_ns <= question->timestamp_ns)
            continue;
        if (event.what == PROCCONN_EXIT && procconn_event_word(&event, 0) == question->pid)
            ended_ns = timestamp_ns;
        if (event.what == PROCCONN_FORK && procconn_event_word(&event, 2) == question->pid)
            ended_ns = timestamp_ns - programs->latency_ns;
    }
    return ended_ns;
}

static bool is_missed(const struct procconn_programs *programs, int64_t from_ns, int64_t to_ns)
{
    return to_ns >= atomic_load(&programs->missed_from_ns) &&
           from_ns <= atomic_load(&programs->missed_to_ns);
}

static int validate(struct procconn_programs *programs, struct question *question, uint64_t index,
                    const uint8_t *messages, size_t size)
{
    struct procconn_exec execs[MOST_FOLLOWING];
    size_t count = collect(programs, index, question, execs);
    int64_t until_ns = execs[count - 1].until_ns;
    int64_t ended_ns = find_end(programs, question, messages, size, until_ns);
    int64_t known_ns = programs->known_ns, last_ns, late_ns;
    bool is_traced = procconn_program_at(programs, index)->is_traced;
    int result;

    if (known_ns > question->drained_ns)
        known_ns = question->drained_ns;
    if (count == MOST_FOLLOWING) /* there may be more */
        known_ns = 0;
    result = procconn_validate_exec(execs, count, ended_ns, known_ns);
    question->again_ns = until_ns;
    if (result == PROCCONN_COMPLETE && execs[0].is_read &&
        is_missed(programs, question->timestamp_ns, until_ns))
        return PROCCONN_BUSY;
    /* After a pause of the consumer, a traced process is checked late. */
    last_ns = question->timestamp_ns + MOST_LATENCIES * programs->latency_ns;
    late_ns = execs[0].until_ns + MOST_LATENCIES / 2 * programs->latency_ns;
    if (is_traced && last_ns < late_ns)
        last_ns = late_ns;
    if (result != PROCCONN_PENDING || question->now_ns < last_ns)
        return result;
    if (count > 1)
        return PROCCONN_LATER;
    return is_traced ? PROCCONN_HELD : PROCCONN_BUSY;
}

/* Make the standby thread check the leader if its current reading takes too long. */
static void look_after_leader(const struct procconn_programs *programs, int64_t now_ns)
{
    const struct program_reader *leader = atomic_load(&programs->leader);
    int64_t since_ns = leader != NULL ? atomic_load(&leader->since_ns) : 0;

    if (since_ns > 0 && now_ns >= since_ns + programs->latency_ns)
        procconn_set_alarm(programs, now_ns);
}

/* Decide on a program that is not stored; check again when a usual reading can be validated. */
static int await_reading(struct procconn_programs *programs, struct question *question)
{
    if (atomic_load(&programs->error) != 0 ||
        programs->known_ns >= question->timestamp_ns + programs->latency_ns ||
        question->now_ns >= question->timestamp_ns + MOST_LATENCIES * programs->latency_ns)
        return PROCCONN_BUSY;
    look_after_leader(programs, question->now_ns);
    question->again_ns = question->timestamp_ns + programs->latency_ns + programs->latency_ns / 8;
    return PROCCONN_PENDING;
}

/* Whether the process exited by itself: an exec that fails late kills it. */
static bool has_exited(const struct procconn_programs *programs, const struct program_entry *entry)
{
    enum { SIGNAL_BITS = 0x7F }; /* of a wait status */
    const struct change *end =
        procconn_journal_find(&programs->journal, PROCCONN_EXIT, entry->pid,
                              entry->exec.timestamp_ns, entry->exec.until_ns);

    return end != NULL && (end->words[0] & SIGNAL_BITS) == 0;
}

static void give(struct procconn_programs *programs, struct program_entry *entry,
                 enum procconn_missing result, const uint8_t **trailer, size_t *trailer_size)
{
    struct field_times times;
    struct builder builder;

    if (result == PROCCONN_COMPLETE && entry->is_ending && !has_exited(programs, entry))
        result = PROCCONN_GONE;
    if (result != PROCCONN_COMPLETE || entry->size == 0) {
        *trailer = programs->blank;
        *trailer_size = procconn_blank_trailer(
            programs->blank, result == PROCCONN_COMPLETE ? entry->missing : result);
        return;
    }
    times = (struct field_times){
        .pid = entry->pid,
        .start_ticks = entry->start_ticks,
        .timestamp_ns = entry->exec.timestamp_ns,
        .cwd_ns = entry->cwd_ns,
        .until_ns = entry->done_ns + programs->latency_ns,
        .parent = entry->parent,
    };
    builder_resume(&builder, programs->bytes + entry->at % MOST_BYTES, entry->size);
    if (entry->exec.is_read)
        procconn_fields_validate(&builder, &times, &programs->journal, &programs->directories);
    *trailer = builder.trailer;
    *trailer_size = builder_finish(&builder);
}

void procconn_programs_follow(struct procconn_programs *programs)
{
    procconn_journal_follow(&programs->journal);
}

int64_t procconn_programs_take(struct procconn_programs *programs, const uint8_t *messages,
                               size_t size, int64_t drained_ns, const uint8_t **trailer,
                               size_t *trailer_size)
{
    struct procconn_walk walk = {.buffer = messages, .size = size};
    struct question question = {.now_ns = procconn_now_ns(), .drained_ns = drained_ns};
    int64_t soon_ns = question.now_ns + programs->pause_ns;
    struct procconn_event event;
    struct program_entry *entry;
    uint64_t index;
    int result;

    procconn_next(&walk, &event);
    question.key = procconn_key_of(messages, &event);
    question.pid = procconn_event_word(&event, 0);
    question.timestamp_ns = (int64_t)event.timestamp_ns;
    procconn_release_programs(programs,
                              question.timestamp_ns - MOST_LATENCIES * programs->latency_ns);
    update_known(programs, question.now_ns);
    entry = procconn_find_program(programs, &question.key, &index);
    traced_check_ahead(programs, index, question.now_ns);
    result = entry != NULL ? validate(programs, &question, index, messages, size)
                           : await_reading(programs, &question);
    if (result == PROCCONN_PENDING)
        return question.again_ns > soon_ns ? question.again_ns : soon_ns;
    if (entry != NULL)
        entry->is_taken = true;
    give(programs, entry, (enum procconn_missing)result, trailer, trailer_size);
    return 0;
}
