/* The sockets of the event journal. */
#include <errno.h>

#include "netlink/batch.h"
#include "programs/journal.h"
#include "system/system.h"

enum {
    MOST_BUFFER = 8 << 20, /* bytes; events that stay unread for long may be lost */
    BATCH = 16,            /* datagrams of one receive */
    MOST_BATCHES = 4096,   /* in one call */
    MOST_BATCHES_OF_NAMES = 64,
};

/* After an overrun the next receive fails with ENOBUFS, and the kernel drops everything until the
 * queue is empty. */
static int open_one(int *fd, int receive_buffer, const struct procconn_filter *filter,
                    struct coverage *coverage)
{
    int status = netlink_open(fd);

    if (status == 0)
        status = netlink_set_receive_buffer(*fd, receive_buffer < MOST_BUFFER ? receive_buffer
                                                                              : MOST_BUFFER);
    if (status == 0)
        status = netlink_attach_filter(*fd, filter);
    if (status == 0)
        status = netlink_join_group(*fd);
    coverage->from_ns = coverage->until_ns = procconn_now_ns();
    return status;
}

int procconn_journal_open(struct journal *journal, int receive_buffer)
{
    /* A thread that execs keeps its tracer, so PTRACE events of threads count. */
    const struct procconn_filter others = {.mask = PROCCONN_FORK | PROCCONN_UID | PROCCONN_GID |
                                                   PROCCONN_PTRACE | PROCCONN_EXIT,
                                           .thread_mask = PROCCONN_PTRACE};
    const struct procconn_filter names = {.mask = PROCCONN_COMM};
    int status = open_one(&journal->socket, receive_buffer, &others, &journal->others);

    if (status == 0)
        status = open_one(&journal->names, receive_buffer, &names, &journal->of_names);
    return status;
}

/* Receive once. Returns how many datagrams there were, or a negative errno. */
static int receive(struct journal *journal, int fd)
{
    uint8_t slots[BATCH][2 * MESSAGE_SIZE];
    const uint8_t *datagram;
    struct batch batch;
    size_t size;
    int count;

    batch_init(&batch, slots[0], BATCH, sizeof slots[0], sizeof slots[0]);
    count = batch_receive(&batch, fd, BATCH, false);
    for (int i = 0; i < count; i++) {
        datagram = batch_datagram(&batch, (size_t)i, &size);
        if (datagram != NULL && size <= sizeof slots[0])
            procconn_journal_append(journal, datagram, size);
    }
    return count;
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
