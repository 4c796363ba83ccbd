/* The reading threads: one leads, one stands by to take over. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "programs/state.h"

/* Close the descriptors in the process's table. A separate table ends with its threads. */
static void close_all(struct procconn_programs *programs)
{
    procconn_close_descriptor(&programs->socket);
    procconn_close_descriptor(&programs->wake);
    procconn_close_descriptor(&programs->alarm);
    procconn_close_descriptor(&programs->journal.socket);
    procconn_close_descriptor(&programs->journal.names);
}

void procconn_free_programs(struct procconn_programs *programs)
{
    free(programs->entries);
    free(programs->bytes);
    free(programs);
}

void procconn_drop_programs(struct procconn_programs *programs)
{
    if (atomic_fetch_sub(&programs->references, 1) > 1)
        return;
    if (!programs->is_apart) {
        close_all(programs);
        procconn_memories_expire(&programs->memories, INT64_MAX);
    }
    procconn_free_programs(programs);
}

/* Take the lead from a thread whose reading takes too long; its program counts as not read. */
static bool take_over(struct program_reader *reader)
{
    struct procconn_programs *programs = reader->programs;
    struct program_reader *leader = atomic_load(&programs->leader);
    int64_t since_ns = atomic_load(&leader->since_ns);

    if (since_ns <= 0)
        return false;
    if (procconn_now_ns() < since_ns + programs->latency_ns) {
        procconn_set_alarm(programs, since_ns + programs->latency_ns);
        return false;
    }
    if (!atomic_compare_exchange_strong(&leader->since_ns, &since_ns, TAKEN_OVER))
        return false;
    procconn_store_program(programs, &leader->entry, leader->trailer);
    atomic_store(&programs->leader, reader);
    return true;
}

/* Wait until this thread takes over the lead (returns true) or has to stop (returns false). */
static bool stand_by(struct program_reader *reader)
{
    struct procconn_programs *programs = reader->programs;
    struct pollfd watched[2] = {{.fd = programs->alarm, .events = POLLIN},
                                {.fd = programs->wake, .events = POLLIN}};
    uint64_t expirations;

    while (procconn_goes_on(programs)) {
        if (poll(watched, 2, -1) < 0 && errno != EINTR)
            return false;
        if (read(programs->alarm, &expirations, sizeof expirations) > 0 && take_over(reader))
            return true;
    }
    return false;
}

static void *run(void *argument)
{
    struct program_reader *reader = argument, *nobody = NULL;
    struct procconn_programs *programs = reader->programs;
    int realtime = procconn_become_realtime(), begun;
    bool leads = atomic_compare_exchange_strong(&programs->leader, &nobody, reader), is_only;

    if (leads) {
        programs->is_apart = procconn_unshare_descriptors(
            (const int[]){programs->socket, programs->wake, programs->alarm, programs->begun}, 4,
            programs->alarm);
        programs->realtime = realtime;
        programs->drained_ns = procconn_now_ns();
        begun = programs->begun;
        eventfd_write(begun, 1);
        if (programs->is_apart)
            close(begun);
    }
    while (procconn_goes_on(programs)) {
        if (leads) {
            if (atomic_load(&programs->standbys) == 0)
                procconn_start_reader(programs); /* fails if all are blocked */
            procconn_lead(reader);
        }
        is_only = atomic_fetch_add(&programs->standbys, 1) == 0;
        leads = is_only && stand_by(reader);
        atomic_fetch_sub(&programs->standbys, 1);
        if (!leads)
            break;
    }
    atomic_store(&reader->is_used, false);
    procconn_drop_programs(programs);
    return NULL;
}

int procconn_start_reader(struct procconn_programs *programs)
{
    struct program_reader *reader;
    int status = -EAGAIN;
    bool is_used;

    for (size_t i = 0; i < MOST_READERS && status == -EAGAIN; i++) {
        reader = &programs->readers[i];
        is_used = false;
        if (!atomic_compare_exchange_strong(&reader->is_used, &is_used, true))
            continue;
        reader->programs = programs;
        atomic_store(&reader->since_ns, 0);
        atomic_fetch_add(&programs->references, 1);
        status = procconn_start_detached(run, reader);
        if (status < 0) {
            atomic_store(&reader->is_used, false);
            atomic_fetch_sub(&programs->references, 1);
            return status;
        }
    }
    return status;
}
