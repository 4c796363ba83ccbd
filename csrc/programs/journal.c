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

/* Those of threads do not pass: a FORK's own task is the child. Words are loaded as
 * big-endian. */
static int filter_socket(int fd)
{
    const struct instruction code[] = {
        {LOAD_WORD, 0, 0, EVENT_WHAT_AT},
        {JUMP_IF_EQUAL, 8, 0, htonl(PROCCONN_FORK)},
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
    struct change *change = &journal->changes[journal->count % MOST_CHANGES];
    struct procconn_walk walk = {.buffer = datagram, .size = size};
    struct procconn_event event;

    if (procconn_next(&walk, &event) != PROCCONN_EVENT || event.kind == NULL)
        return;
    if (journal->count >= MOST_CHANGES)
        journal->from_ns = change->stamp_ns;
    *change = (struct change){
        .stamp_ns = (int64_t)event.timestamp_ns,
        .what = event.what,
        .pid = procconn_event_word(&event, event.what == PROCCONN_FORK ? 2 : 0),
    };
    if (event.what == PROCCONN_FORK)
        change->words[0] = procconn_event_word(&event, 1);
    else if (event.what == PROCCONN_COMM)
        memcpy(change->name, event.data + 2 * WORD_SIZE, COMM_NAME_SIZE);
    else
        for (size_t i = 0; i < 4; i++)
            change->words[i] = procconn_event_word(&event, i + 2);
    journal->count++;
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
    if (overran) {
        journal->count = 0;
        journal->from_ns = procconn_now_ns();
    }
    if (count < BATCH && (count >= 0 || count == -EAGAIN))
        journal->until_ns = now_ns;
}

bool procconn_journal_covers(const struct journal *journal, int64_t since_ns)
{
    return since_ns >= journal->from_ns;
}

/* The changes from the last one back to those of before `from_ns`, one at each call. Those
 * of two CPUs may be a little out of order. */
static const struct change *previous(const struct journal *journal, uint64_t *left, int64_t from_ns)
{
    enum { DISORDER_NS = 1000000 };
    uint64_t kept = journal->count < MOST_CHANGES ? journal->count : MOST_CHANGES;
    const struct change *change;

    if (journal->count - *left >= kept)
        return NULL;
    change = &journal->changes[--*left % MOST_CHANGES];
    return change->stamp_ns < from_ns - DISORDER_NS ? NULL : change;
}

const struct change *procconn_journal_fork(const struct journal *journal, uint32_t child,
                                           int64_t before_ns)
{
    uint64_t left = journal->count;
    const struct change *change;

    while ((change = previous(journal, &left, journal->from_ns)) != NULL)
        if (change->what == PROCCONN_FORK && change->pid == child && change->stamp_ns < before_ns)
            return change;
    return NULL;
}

bool procconn_journal_has_ids(const struct journal *journal, uint32_t what, uint32_t pid,
                              const uint32_t ids[2], int64_t from_ns, int64_t until_ns)
{
    uint64_t left = journal->count;
    const struct change *change;

    while ((change = previous(journal, &left, from_ns)) != NULL)
        if (change->what == what && change->pid == pid && change->stamp_ns > from_ns &&
            change->stamp_ns <= until_ns && memcmp(change->words, ids, 2 * WORD_SIZE) == 0)
            return true;
    return false;
}

bool procconn_journal_has_end(const struct journal *journal, int64_t from_ns, int64_t until_ns)
{
    uint64_t left = journal->count;
    const struct change *change;

    while ((change = previous(journal, &left, from_ns)) != NULL)
        if (change->what == PROCCONN_EXIT && change->stamp_ns > from_ns &&
            change->stamp_ns <= until_ns)
            return true;
    return false;
}

bool procconn_journal_has_name(const struct journal *journal, uint32_t pid, const uint8_t *name,
                               size_t size, int64_t from_ns, int64_t until_ns)
{
    uint64_t left = journal->count;
    const struct change *change;

    while ((change = previous(journal, &left, from_ns)) != NULL)
        if (change->what == PROCCONN_COMM && change->pid == pid && change->stamp_ns > from_ns &&
            change->stamp_ns <= until_ns && strnlen(change->name, COMM_NAME_SIZE) == size &&
            memcmp(change->name, name, size) == 0)
            return true;
    return false;
}
