/* The sockets of the journal. */
#define _GNU_SOURCE /* recvmmsg */
#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>

#include "decode.h"
#include "journal.h"
#include "system.h"

enum {
    MOST_BUFFER = 8 << 20, /* bytes: what is not read for long may be forgotten */
    BATCH = 16,            /* datagrams that one call of the kernel brings */
    MOST_BATCHES = 4096,   /* at once */
    MOST_BATCHES_OF_NAMES = 64,

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
        {JUMP_IF_EQUAL, 8, 0, htonl(PROCCONN_FORK)},
        {JUMP_IF_EQUAL, 11, 0, htonl(PROCCONN_PTRACE)},
        {JUMP_IF_EQUAL, 2, 0, htonl(PROCCONN_EXIT)},
        {JUMP_IF_EQUAL, 1, 0, htonl(PROCCONN_UID)},
        {JUMP_IF_EQUAL, 0, 9, htonl(PROCCONN_GID)},
        {LOAD_WORD, 0, 0, TASK_PID_AT},
        {COPY_TO_X, 0, 0, 0},
        {LOAD_WORD, 0, 0, TASK_TGID_AT},
        {JUMP_IF_EQUAL_X, 4, 5, 0},
        {LOAD_WORD, 0, 0, FORK_CHILD_PID_AT},
        {COPY_TO_X, 0, 0, 0},
        {LOAD_WORD, 0, 0, FORK_CHILD_TGID_AT},
        {JUMP_IF_EQUAL_X, 0, 1, 0},
        {RETURN, 0, 0, UINT32_MAX},
        {RETURN, 0, 0, 0},
    };

    return procconn_attach_instructions(fd, code, sizeof code);
}

static int filter_names(int fd)
{
    const struct instruction code[] = {
        {LOAD_WORD, 0, 0, EVENT_WHAT_AT}, {JUMP_IF_EQUAL, 0, 5, htonl(PROCCONN_COMM)},
        {LOAD_WORD, 0, 0, TASK_PID_AT},   {COPY_TO_X, 0, 0, 0},
        {LOAD_WORD, 0, 0, TASK_TGID_AT},  {JUMP_IF_EQUAL_X, 0, 1, 0},
        {RETURN, 0, 0, UINT32_MAX},       {RETURN, 0, 0, 0},
    };

    return procconn_attach_instructions(fd, code, sizeof code);
}

/* What is dropped is reported by ENOBUFS, and more is dropped until the queue is empty. */
static int open_one(int *fd, int receive_buffer, int (*filter)(int), struct coverage *coverage)
{
    int status = procconn_open_netlink(fd);

    if (status == 0)
        status = procconn_enlarge(*fd, receive_buffer < MOST_BUFFER ? receive_buffer : MOST_BUFFER);
    if (status == 0)
        status = filter(*fd);
    if (status == 0)
        status = procconn_join_group(*fd);
    coverage->from_ns = coverage->until_ns = procconn_now_ns();
    return status;
}

int procconn_journal_open(struct journal *journal, int receive_buffer)
{
    int status = open_one(&journal->socket, receive_buffer, filter_socket, &journal->others);

    return status < 0 ? status
                      : open_one(&journal->names, receive_buffer, filter_names, &journal->of_names);
}

/* Returns how many datagrams one call of the kernel brought, or a negative errno. */
static int receive(struct journal *journal, int fd)
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
    count = recvmmsg(fd, headers, BATCH, MSG_DONTWAIT | MSG_TRUNC, NULL);
    for (int i = 0; i < count; i++)
        if (headers[i].msg_hdr.msg_namelen == sizeof senders[i] && senders[i].port == 0 &&
            headers[i].msg_len <= sizeof datagrams[i])
            procconn_journal_append(journal, datagrams[i], headers[i].msg_len);
    return count < 0 ? -errno : count;
}

static void follow(struct journal *journal, int fd, unsigned most, struct coverage *coverage)
{
    int64_t now_ns = procconn_now_ns();
    bool overran = false;
    int count = BATCH;

    for (; most > 0 && (count == BATCH || count == -ENOBUFS); most--) {
        count = receive(journal, fd);
        overran = overran || count == -ENOBUFS;
    }
    if (overran)
        coverage->from_ns = procconn_now_ns();
    if (count < BATCH && (count >= 0 || count == -EAGAIN))
        coverage->until_ns = now_ns;
}

void procconn_journal_follow(struct journal *journal)
{
    follow(journal, journal->socket, MOST_BATCHES, &journal->others);
    follow(journal, journal->names, MOST_BATCHES_OF_NAMES, &journal->of_names);
}
