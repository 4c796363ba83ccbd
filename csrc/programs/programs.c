/* Start and stop the reading of programs: its descriptors, its leading thread. */
#include "programs/state.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "netlink/socket.h"

/* After an overrun the next receive fails with ENOBUFS, and the kernel drops all EXECs until the
 * queue is empty: a reader that late would find those processes gone anyway. */
static int open_socket(struct procconn_programs *programs, int receive_buffer)
{
    const struct procconn_filter execs = {.mask = PROCCONN_EXEC, .thread_mask = PROCCONN_EXEC};
    int status = netlink_open(&programs->socket);

    if (status == 0)
        status = netlink_set_receive_buffer(programs->socket, receive_buffer);
    if (status == 0)
        status = netlink_attach_filter(programs->socket, &execs);
    if (status == 0)
        status = netlink_join_group(programs->socket);
    if (status < 0)
        return status;
    programs->wake = eventfd(0, EFD_CLOEXEC);
    programs->alarm = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (programs->wake < 0 || programs->alarm < 0)
        return -errno;
    return procconn_journal_open(&programs->journal, receive_buffer);
}

/* Start the leading thread, and wait until it has requested its priority. */
static int begin(struct procconn_programs *programs)
{
    eventfd_t count;
    int status;

    programs->begun = eventfd(0, EFD_CLOEXEC);
    if (programs->begun < 0)
        return -errno;
    status = procconn_start_reader(programs);
    if (status == 0)
        while (eventfd_read(programs->begun, &count) != 0 && errno == EINTR)
            ;
    close(programs->begun);
    return status < 0 ? status : atomic_load(&programs->realtime);
}

static int64_t between(int64_t least, int64_t value, int64_t most)
{
    return value < least ? least : value > most ? most : value;
}

int procconn_programs_start(uint32_t receive_buffer, int64_t coalesce_ns,
                            struct procconn_programs **started)
{
    struct procconn_programs *programs = calloc(1, sizeof *programs);
    int status;

    if (programs == NULL)
        return -ENOMEM;
    programs->socket = programs->wake = programs->alarm = -1;
    programs->journal.socket = programs->journal.names = -1;
    procconn_memories_init(&programs->memories);
    syscall(SYS_getrandom, &programs->directories.seed, sizeof programs->directories.seed, 0);
    programs->owner = getpid();
    programs->latency_ns = between(SHORTEST_LATENCY_NS, coalesce_ns, LONGEST_LATENCY_NS);
    programs->pause_ns = between(SHORTEST_LATENCY_NS, coalesce_ns, INT64_MAX) / 8;
    atomic_store(&programs->references, 1);
    programs->entries = calloc(MOST_ENTRIES, sizeof programs->entries[0]);
    programs->bytes = malloc(MOST_BYTES);
    status = programs->entries == NULL || programs->bytes == NULL ? -ENOMEM : 0;
    if (status == 0)
        status = open_socket(programs, (int)receive_buffer);
    if (status == 0)
        status = begin(programs);
    if (status < 0)
        procconn_drop_programs(programs);
    else
        *started = programs;
    return status;
}

/* A forked child has no such threads and does not close the descriptors they opened: in its
 * process, those numbers may belong to other descriptors. */
void procconn_programs_stop(struct procconn_programs *programs)
{
    int own[] = {programs->socket, programs->wake, programs->alarm, programs->journal.socket,
                 programs->journal.names};
    bool is_owner = programs->owner == getpid();

    if (is_owner) {
        atomic_store(&programs->is_stopping, true);
        eventfd_write(programs->wake, 1); /* shared with a forked child */
    }
    if (!is_owner || programs->is_apart)
        for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
            close(own[i]);
    if (is_owner)
        procconn_drop_programs(programs);
    else
        procconn_free_programs(programs);
}

int procconn_programs_error(const struct procconn_programs *programs)
{
    return atomic_load(&programs->error);
}
