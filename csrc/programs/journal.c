#define _GNU_SOURCE /* recvmmsg, strnlen */
#include "journal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "decode.h"
#include "system.h"

enum {
    MOST_BUFFER = 8 << 20, /* bytes: what is not read for long may be forgotten */
    BATCH = 16,            /* datagrams that one call of the kernel brings */
    MOST_BATCHES = 4096,   /* at once */

    /* linux/bpf_common.h */
    COPY_TO_X = 0x07,
    JUMP_IF_EQUAL_X = 0x1d,
};

/* Those of threads do not pass, but for PTRACE: a thread that execs takes its tracer along. A
 * FORK's own task is the child. Words are loaded as big-endian. */
static int filter_socket(int fd)
{
    const struct instruction code[] = {
        {LOAD_WORD, 0, 0, EVENT_WHAT_AT},
        {JUMP_IF_EQUAL, 9, 0, htonl(PROCCONN_FORK)},
        {JUMP_IF_EQUAL, 12, 0, htonl(PROCCONN_PTRACE)},
        {JUMP_IF_EQUAL, 3, 0, htonl(PROCCONN_EXIT)},
        {JUMP_IF_EQUAL, 2, 0, htonl(PROCCONN_UID)},
        {JUMP_IF_EQUAL, 1, 0, htonl(PROCCONN_GID)},
        {JUMP_IF_EQUAL, 0, 8, htonl(PROCCONN_COMM)},
        {LOAD_WORD, 0, 0, TASK_PID_AT},
        {COPY_TO_X, 0, 0, 0},
        {LOAD_WORD, 0, 0, TASK_TGID_AT},
        {JUMP_IF_EQUAL_X, 3, 4, 0},
        {LOAD_WORD, 0, 0, FORK_CHILD_PID_AT},
        {COPY_TO_X, 0, 0, 0},
        {LOAD_WORD, 0, 0, FORK_CHILD_TGID_AT},
        {JUMP_IF_EQUAL_X, 0, 1, 0},
        {RETURN, 0, 0, UINT32_MAX},
        {RETURN, 0, 0, 0},
    };

    return procconn_attach_instructions(fd, code, sizeof code);
}

/* What is dropped is reported by ENOBUFS, and more is dropped until the queue is empty. */
int procconn_journal_open(struct journal *journal, int receive_buffer)
{
    int status = procconn_open_netlink(&journal->socket);

    if (status == 0)
        status = procconn_enlarge(journal->socket,
                                  receive_buffer < MOST_BUFFER ? receive_buffer : MOST_BUFFER);
    if (status == 0)
        status = filter_socket(journal->socket);
    if (status == 0)
        status = procconn_join_group(journal->socket);
    journal->from_ns = journal->until_ns = procconn_now_ns();
    return status;
}

static void append(struct journal *journal, const uint8_t *datagram, size_t size)
{
    struct procconn_walk walk = {.buffer = datagram, .size = size};
    struct procconn_event event;
    struct change *change;
    uint32_t pid;
    size_t slot;

    if (procconn_next(&walk, &event) != PROCCONN_EVENT || event.kind == NULL)
        return;
    pid = procconn_event_word(&event, event.what == PROCCONN_FORK     ? 2
                                      : event.what == PROCCONN_PTRACE ? 1
                                                                      : 0);
    slot = pid % PROCESS_SLOTS;
    change = &journal->slots[slot].changes[journal->slots[slot].count % SLOT_CHANGES];
    if (journal->slots[slot].count >= SLOT_CHANGES)
        journal->slots[slot].from_ns = change->stamp_ns;
    *change =
        (struct change){.stamp_ns = (int64_t)event.timestamp_ns, .what = event.what, .pid = pid};
    if (event.what == PROCCONN_FORK)
        change->words[0] = procconn_event_word(&event, 1);
    else if (event.what == PROCCONN_COMM)
        memcpy(change->name, event.data + 2 * WORD_SIZE, COMM_NAME_SIZE);
    else
        for (size_t i = 0; i < 4; i++)
            change->words[i] = procconn_event_word(&event, i + 2);
    journal->slots[slot].count++;
    if (event.what == PROCCONN_EXIT)
        journal->ends_ns[journal->end_count++ % MOST_ENDS] = change->stamp_ns;
}

/* After an overrun nothing of before counts. */
static void forget(struct journal *journal)
{
    for (size_t i = 0; i < PROCESS_SLOTS; i++)
        journal->slots[i].count = 0;
    journal->end_count = 0;
    journal->from_ns = procconn_now_ns();
}

/* Returns how many datagrams one call of the kernel brought, or a negative errno. */
static int receive(struct journal *journal)
{
    uint8_t datagrams[BATCH][2 * MESSAGE_SIZE];
    struct netlink_address senders[BATCH];
    struct mmsghdr headers[BATCH];
    struct iovec iovecs[BATCH];
    int count;

    for (size_t i = 0; i < BATCH; i++) {
        iovecs[i] = (struct iovec){datagrams[i], sizeof datagrams[i]};
        headers[i].msg_hdr = (struct msghdr){.msg_name = &senders[i],
                                             .msg_namelen = sizeof senders[i],
                                             .msg_iov = &iovecs[i],
                                             .msg_iovlen = 1};
    }
    count = recvmmsg(journal->socket, headers, BATCH, MSG_DONTWAIT | MSG_TRUNC, NULL);
    for (int i = 0; i < count; i++)
        if (headers[i].msg_hdr.msg_namelen == sizeof senders[i] && senders[i].port == 0 &&
            headers[i].msg_len <= sizeof datagrams[i])
            append(journal, datagrams[i], headers[i].msg_len);
    return count < 0 ? -errno : count;
}

void procconn_journal_follow(struct journal *journal)
{
    int64_t now_ns = procconn_now_ns();
    bool overran = false;
    int count = BATCH;

    for (int i = 0; i < MOST_BATCHES && (count == BATCH || count == -ENOBUFS); i++) {
        count = receive(journal);
        overran = overran || count == -ENOBUFS;
    }
    if (overran)
        forget(journal);
    if (count < BATCH && (count >= 0 || count == -EAGAIN))
        journal->until_ns = now_ns;
}

bool procconn_journal_covers(const struct journal *journal, uint32_t pid, int64_t since_ns)
{
    return since_ns >= journal->from_ns && since_ns >= journal->slots[pid % PROCESS_SLOTS].from_ns;
}

/* The change of the process before that number of its slot, and its number; or NULL. */
static const struct change *previous(const struct journal *journal, uint32_t pid, uint32_t what,
                                     uint64_t *number)
{
    size_t slot = pid % PROCESS_SLOTS;
    uint64_t count = journal->slots[slot].count;
    const struct change *change;

    while (*number > 0 && count - *number < SLOT_CHANGES) {
        change = &journal->slots[slot].changes[--*number % SLOT_CHANGES];
        if (change->pid == pid && change->what == what)
            return change;
    }
    return NULL;
}

static bool is_between(const struct change *change, int64_t from_ns, int64_t until_ns)
{
    return change->stamp_ns > from_ns && change->stamp_ns <= until_ns;
}

const struct change *procconn_journal_fork(const struct journal *journal, uint32_t child,
                                           int64_t before_ns)
{
    uint64_t number = journal->slots[child % PROCESS_SLOTS].count;
    const struct change *change;

    while ((change = previous(journal, child, PROCCONN_FORK, &number)) != NULL)
        if (change->stamp_ns < before_ns)
            return change;
    return NULL;
}

const struct change *procconn_journal_find(const struct journal *journal, uint32_t what,
                                           uint32_t pid, int64_t from_ns, int64_t until_ns)
{
    uint64_t number = journal->slots[pid % PROCESS_SLOTS].count;
    const struct change *change;

    while ((change = previous(journal, pid, what, &number)) != NULL)
        if (is_between(change, from_ns, until_ns))
            return change;
    return NULL;
}

bool procconn_journal_has_ids(const struct journal *journal, uint32_t what, uint32_t pid,
                              const uint32_t ids[2], int64_t from_ns, int64_t until_ns)
{
    uint64_t number = journal->slots[pid % PROCESS_SLOTS].count;
    const struct change *change;

    while ((change = previous(journal, pid, what, &number)) != NULL)
        if (is_between(change, from_ns, until_ns) && memcmp(change->words, ids, 2 * WORD_SIZE) == 0)
            return true;
    return false;
}

bool procconn_journal_has_name(const struct journal *journal, uint32_t pid, const uint8_t *name,
                               size_t size, int64_t from_ns, int64_t until_ns)
{
    uint64_t number = journal->slots[pid % PROCESS_SLOTS].count;
    const struct change *change;

    while ((change = previous(journal, pid, PROCCONN_COMM, &number)) != NULL)
        if (is_between(change, from_ns, until_ns) &&
            strnlen(change->name, COMM_NAME_SIZE) == size && memcmp(change->name, name, size) == 0)
            return true;
    return false;
}

/* Those of two CPUs may be a little out of order. */
bool procconn_journal_has_end(const struct journal *journal, int64_t from_ns, int64_t until_ns)
{
    enum { DISORDER_NS = 1000000 };
    int64_t end_ns = until_ns;

    for (uint64_t i = journal->end_count; i > 0 && end_ns > from_ns - DISORDER_NS; i--) {
        if (journal->end_count - i == MOST_ENDS)
            return true;
        end_ns = journal->ends_ns[(i - 1) % MOST_ENDS];
        if (end_ns > from_ns && end_ns <= until_ns)
            return true;
    }
    return false;
}
