/* The leading thread: read the program of each EXEC as it arrives. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "netlink/socket.h"
#include "proc/files.h"
#include "programs/state.h"
#include "wire/decode.h"

void procconn_set_alarm(const struct procconn_programs *programs, int64_t at_ns)
{
    struct itimerspec alarm = {.it_value = {at_ns / NS_PER_S, at_ns % NS_PER_S}};

    timerfd_settime(programs->alarm, TFD_TIMER_ABSTIME, &alarm, NULL);
}

/* Stop reading programs; the consumer of programs checks for the error. */
static void fail(struct procconn_programs *programs, int error)
{
    atomic_store(&programs->error, -error);
    eventfd_write(programs->wake, 1);
}

/* Hold the memory, so that later execs of the process can be distinguished from this one. */
static void hold_memory(struct procconn_programs *programs, const struct program_entry *entry,
                        int memory)
{
    int64_t until_ns = entry->exec.until_ns + programs->latency_ns;

    if (entry->is_traced) /* until the check for a tracer's stop is over */
        until_ns = entry->exec.timestamp_ns + (MOST_LATENCIES + 2) * programs->latency_ns;
    procconn_memories_hold(&programs->memories, entry->pid, memory, until_ns);
}

/* Read the parent's working directory if that of the process was read too late. */
static void read_parent(struct program_reader *reader, const struct procconn_reading *reading,
                        struct sighting *parent)
{
    uint8_t bytes[PROGRAM_MOST_TEXT + 1];
    struct program_header header;
    struct procconn_stat stat;
    ssize_t size = -1;
    int directory;

    memcpy(&header, reader->trailer, sizeof header);
    if (header.sizes[CWD_TEXT] == PROGRAM_ABSENT ||
        procconn_fields_in_time(reader->entry.exec.timestamp_ns, reading->cwd_ns))
        return;
    parent->seen_ns = procconn_now_ns();
    directory = procconn_open_process(header.ids[PPID_ID]);
    if (directory < 0)
        return;
    if (procconn_read_stat(directory, &stat) == 0)
        size = readlinkat(directory, "cwd", (char *)bytes, sizeof bytes);
    close(directory);
    if (size < 0)
        return;
    parent->pid = header.ids[PPID_ID];
    parent->start_ticks = stat.start_ticks;
    parent->hash = builder_hash(bytes, (size_t)size, reader->programs->directories.seed);
}

/* Read the program of an EXEC. Returns false if that took too long and another thread leads now. */
static bool read_program(struct program_reader *reader, const uint8_t *datagram, size_t size)
{
    struct procconn_programs *programs = reader->programs;
    struct procconn_walk walk = {.buffer = datagram, .size = size};
    struct program_entry *entry = &reader->entry;
    enum procconn_memory before = PROCCONN_MEMORY_UNKNOWN;
    int64_t since_ns = procconn_now_ns();
    struct procconn_reading reading;
    struct sighting parent = {0}; /* not in the entry, which another thread may read */
    struct procconn_event event;
    int memory;

    if (procconn_next(&walk, &event) != PROCCONN_EVENT || event.what != PROCCONN_EXEC)
        return true;
    *entry = (struct program_entry){
        .key = procconn_key_of(datagram, &event),
        .pid = procconn_event_word(&event, 0),
        .missing = PROCCONN_BUSY,
        .exec = {.timestamp_ns = (int64_t)event.timestamp_ns,
                 .until_ns = (int64_t)event.timestamp_ns + programs->latency_ns},
    };
    memory = procconn_memories_take(&programs->memories, entry->pid);
    atomic_store(&reader->since_ns, since_ns); /* from here on a blocked reading is abandoned */
    if (memory >= 0) {
        before = procconn_memory_lives(memory) ? PROCCONN_MEMORY_LIVES : PROCCONN_MEMORY_ENDED;
        close(memory);
    }
    procconn_read_executed(entry->pid, reader->trailer, &reading);
    read_parent(reader, &reading, &parent);
    if (!atomic_compare_exchange_strong(&reader->since_ns, &since_ns, 0)) {
        if (reading.memory >= 0)
            close(reading.memory);
        return false;
    }
    entry->parent = parent;
    entry->size = (uint32_t)reading.size;
    entry->missing = (enum procconn_missing)reading.missing;
    entry->is_traced = reading.is_traced;
    entry->switches = reading.switches;
    entry->start_ticks = reading.start_ticks;
    entry->cwd_ns = reading.cwd_ns;
    entry->done_ns = reading.done_ns;
    entry->exec.started_ns = reading.started_ns;
    entry->exec.read_ns = reading.read_ns;
    entry->exec.until_ns = reading.done_ns + programs->latency_ns;
    entry->exec.is_read = reading.size > sizeof(struct program_header);
    entry->exec.is_pinned = reading.memory >= 0 && !reading.is_in_exec;
    entry->exec.before = before;
    entry->is_ending = reading.is_ending && !entry->exec.is_pinned;
    if (reading.memory >= 0)
        hold_memory(programs, entry, reading.memory);
    procconn_store_program(programs, entry, reader->trailer);
    return true;
}

/* Read the programs of all queued EXECs. Returns false if another thread leads now. */
static bool read_queued(struct program_reader *reader)
{
    struct procconn_programs *programs = reader->programs;
    uint8_t datagram[2 * MESSAGE_SIZE];
    struct netlink_address sender;
    int64_t now_ns = programs->drained_ns;
    ssize_t size;

    while (!atomic_load(&programs->is_stopping)) {
        socklen_t length = sizeof sender;

        now_ns = procconn_now_ns();
        size = recvfrom(programs->socket, datagram, sizeof datagram, MSG_DONTWAIT | MSG_TRUNC,
                        (struct sockaddr *)&sender, &length);
        if (size < 0 && errno == ENOBUFS) {
            programs->is_missing = true;
            procconn_note_missed(programs, programs->drained_ns - programs->latency_ns, INT64_MAX);
        } else if (size < 0) {
            if (errno != EAGAIN && errno != EINTR)
                fail(programs, errno);
            break;
        } else if (netlink_is_from_kernel(&sender, length) && (size_t)size <= sizeof datagram &&
                   !read_program(reader, datagram, (size_t)size)) {
            return false;
        }
    }
    programs->drained_ns = now_ns;
    if (programs->is_missing)
        atomic_store(&programs->missed_to_ns, now_ns);
    programs->is_missing = false;
    return true;
}

/* Return how long to wait, in milliseconds. Expired memories are released at the next exec, or,
 * if there are many, after a second without one. */
static int until_expiry(struct procconn_programs *programs)
{
    enum { FEW = 16, SILENCE_MS = 1000 };

    return procconn_memories_expire(&programs->memories, procconn_now_ns()) > FEW ? SILENCE_MS : -1;
}

void procconn_lead(struct program_reader *reader)
{
    struct procconn_programs *programs = reader->programs;
    struct pollfd watched[2] = {{.fd = programs->socket, .events = POLLIN},
                                {.fd = programs->wake, .events = POLLIN}};

    while (procconn_goes_on(programs)) {
        atomic_store(&programs->is_reading, true); /* before anything is received */
        procconn_order_memory();
        procconn_set_alarm(programs, procconn_now_ns() + LONGEST_LATENCY_NS);
        if (!read_queued(reader))
            return;
        procconn_set_alarm(programs, 0);
        atomic_store(&programs->is_reading, false);
        if (poll(watched, 2, until_expiry(programs)) < 0 && errno != EINTR)
            fail(programs, errno);
    }
}
