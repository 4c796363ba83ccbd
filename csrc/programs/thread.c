/* The thread that reads programs: its socket, its life, its loop. */
#define _GNU_SOURCE
#include "programs.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "decode.h"

/* Within so long the kernel is believed to report an exec: as long as events may gather,
 * but no longer than an exec, and what follows it, should wait. */
enum { SHORTEST_LATENCY_NS = 1000000, LONGEST_LATENCY_NS = 10000000 };

/* Only EXEC passes. Words are loaded as big-endian. */
static int filter_socket(int fd)
{
    const struct instruction code[] = {
        {LOAD_WORD, 0, 0, EVENT_WHAT_AT},
        {JUMP_IF_EQUAL, 0, 1, htonl(PROCCONN_EXEC)},
        {RETURN, 0, 0, UINT32_MAX},
        {RETURN, 0, 0, 0},
    };

    return procconn_attach_instructions(fd, code, sizeof code);
}

/* What is dropped here is told by ENOBUFS at the next receive, and more dropped until
 * the queue is empty: whoever is so far behind reads processes that are gone. */
static int open_socket(struct procconn_programs *programs, int receive_buffer)
{
    int status = procconn_open_netlink(&programs->socket);

    if (status == 0)
        status = procconn_enlarge(programs->socket, receive_buffer);
    if (status == 0)
        status = filter_socket(programs->socket);
    if (status == 0)
        status = procconn_join_group(programs->socket);
    if (status < 0)
        return status;
    programs->wake = eventfd(0, EFD_CLOEXEC);
    return programs->wake < 0 ? -errno : 0;
}

static void drop_reference(struct procconn_programs *programs)
{
    if (atomic_fetch_sub(&programs->references, 1) > 1)
        return;
    if (programs->socket >= 0)
        close(programs->socket);
    if (programs->wake >= 0)
        close(programs->wake);
    free(programs->entries);
    free(programs->bytes);
    free(programs);
}

static void read_program(struct procconn_programs *programs, const uint8_t *datagram, size_t size)
{
    struct procconn_walk walk = {.buffer = datagram, .size = size};
    struct program_entry entry = {0};
    struct procconn_reading reading;
    struct procconn_event event;

    if (procconn_next(&walk, &event) != PROCCONN_EVENT || event.what != PROCCONN_EXEC)
        return;
    entry.key = procconn_key_of(datagram, &event);
    entry.pid = procconn_event_word(&event, 0);
    procconn_read_executed(entry.pid, programs->draft, &reading);
    entry.size = (uint32_t)reading.size;
    entry.is_traced = reading.is_traced;
    entry.exec = (struct procconn_exec){
        .stamp_ns = (int64_t)event.timestamp_ns,
        .started_ns = reading.started_ns,
        .read_ns = reading.read_ns,
        .until_ns = reading.done_ns + programs->latency_ns,
        .print = reading.print,
        .place = reading.place,
        .is_read = reading.size > sizeof(struct program_header),
    };
    procconn_store_program(programs, &entry);
}

/* Reads the programs of all EXECs that wait. */
static void drain(struct procconn_programs *programs)
{
    uint8_t datagram[2 * MESSAGE_SIZE];
    struct netlink_address sender;
    bool missed = false;
    int64_t now_ns = programs->emptied_ns;
    ssize_t size;

    while (!atomic_load(&programs->is_stopping)) {
        socklen_t length = sizeof sender;

        now_ns = procconn_now_ns();
        size = recvfrom(programs->socket, datagram, sizeof datagram, MSG_DONTWAIT | MSG_TRUNC,
                        (struct sockaddr *)&sender, &length);
        if (size < 0 && errno == ENOBUFS) {
            missed = true;
            procconn_note_missed(programs, programs->emptied_ns - programs->latency_ns, INT64_MAX);
        } else if (size < 0) {
            break;
        } else if (length == sizeof sender && sender.port == 0 && (size_t)size <= sizeof datagram) {
            read_program(programs, datagram, (size_t)size);
        }
    }
    programs->emptied_ns = now_ns;
    if (missed)
        atomic_store(&programs->missed_to_ns, now_ns);
}

static void *run(void *argument)
{
    struct procconn_programs *programs = argument;
    struct pollfd watched[2] = {{.fd = programs->socket, .events = POLLIN},
                                {.fd = programs->wake, .events = POLLIN}};

    programs->realtime = procconn_become_realtime();
    programs->emptied_ns = procconn_now_ns();
    eventfd_write(programs->begun, 1);
    while (!atomic_load(&programs->is_stopping)) {
        poll(watched, 2, -1);
        atomic_store(&programs->is_reading, true);
        drain(programs);
        atomic_store(&programs->is_reading, false);
    }
    drop_reference(programs);
    return NULL;
}

/* Waits until the thread has tried for its priority. */
static int begin(struct procconn_programs *programs)
{
    eventfd_t count;
    int status;

    programs->begun = eventfd(0, EFD_CLOEXEC);
    if (programs->begun < 0)
        return -errno;
    atomic_store(&programs->references, 2);
    status = procconn_start_detached(run, programs);
    if (status < 0)
        atomic_store(&programs->references, 1);
    else
        while (eventfd_read(programs->begun, &count) != 0 && errno == EINTR)
            ;
    close(programs->begun);
    return status < 0 ? status : programs->realtime;
}

static int64_t between(int64_t least, int64_t value, int64_t most)
{
    return value < least ? least : value > most ? most : value;
}

int procconn_programs_start(uint32_t receive_buffer, int64_t gather_ns,
                            struct procconn_programs **started)
{
    struct procconn_programs *programs = calloc(1, sizeof *programs);
    int status;

    if (programs == NULL)
        return -ENOMEM;
    programs->socket = programs->wake = -1;
    programs->owner = getpid();
    programs->latency_ns = between(SHORTEST_LATENCY_NS, gather_ns, LONGEST_LATENCY_NS);
    programs->pause_ns = between(SHORTEST_LATENCY_NS, gather_ns, INT64_MAX) / 8;
    atomic_store(&programs->references, 1);
    programs->entries = calloc(MOST_ENTRIES, sizeof programs->entries[0]);
    programs->bytes = malloc(MOST_BYTES);
    status = programs->entries == NULL || programs->bytes == NULL ? -ENOMEM : 0;
    if (status == 0)
        status = open_socket(programs, (int)receive_buffer);
    if (status == 0)
        status = begin(programs);
    if (status < 0)
        drop_reference(programs);
    else
        *started = programs;
    return status;
}

void procconn_programs_stop(struct procconn_programs *programs)
{
    if (programs->owner == getpid()) {
        atomic_store(&programs->is_stopping, true);
        eventfd_write(programs->wake, 1); /* which a forked child shares */
    } else {
        atomic_store(&programs->references, 1); /* a forked child has no such thread */
    }
    drop_reference(programs);
}
