/*
 * Asking the kernel. The requests go over a socket of their own. It belongs to the
 * multicast group only while it waits for an answer, so that no event has to pass
 * through it, and the kernel's bookkeeping (per socket from Linux 6.6 on) is that of
 * this socket alone.
 *
 * The kernel counts listeners and does not notice when one goes away without an
 * IGNORE; before Linux 6.6 an IGNORE too many takes away another program's
 * subscription. So every LISTEN is noted before it is sent, and taken back once.
 */
#define _GNU_SOURCE /* struct mmsghdr */
#include <errno.h>
#include <unistd.h>

#include "stream.h"

enum {
    MOST_LISTENS = 8, /* before giving up */

    ADD_MEMBERSHIP = 1, /* linux/netlink.h */
    DROP_MEMBERSHIP = 2,

    LARGEST_ANSWER = 4096,
};

static int request(const struct procconn_stream *stream, uint32_t operation, uint32_t ack)
{
    const struct netlink_address kernel = {.family = AF_NETLINK};
    uint8_t message[REQUEST_SIZE];
    ssize_t sent;

    procconn_write_headers(message, REQUEST_SIZE, CN_IDX_PROC, CN_VAL_PROC);
    procconn_store_u32(message + CN_MSG_ACK_AT, ack);
    procconn_store_u32(message + EVENT_AT, operation);
    sent = sendto(stream->requests, message, sizeof message, 0, (const struct sockaddr *)&kernel,
                  sizeof kernel);
    return sent < 0 ? -errno : 0;
}

void procconn_end_listening(struct procconn_stream *stream)
{
    int group = CONNECTOR_GROUP, fd = stream->requests;

    for (int owed = atomic_exchange(&stream->owed, 0); owed > 0; owed--)
        request(stream, REQUEST_IGNORE, 0);
    if (fd < 0)
        return;
    /* From 6.6 on a close frees the bookkeeping of group members only. */
    setsockopt(fd, SOL_NETLINK, ADD_MEMBERSHIP, &group, sizeof group);
    stream->requests = -1; /* before: a child that is forked meanwhile must not close it */
    close(fd);
}

/* The kernel's answer to the request: an errno; -ETIME if it does not come. */
static int await_answer(struct procconn_stream *stream, uint32_t ack, int64_t deadline_ns)
{
    uint8_t answer[LARGEST_ANSWER];
    struct netlink_address sender;
    socklen_t length;
    int64_t error;
    ssize_t size;
    int status;

    do { /* others' answers do not end, so the deadline is looked at each time */
        status = procconn_sleep(stream->requests, stream->wake, deadline_ns);
        if (status <= 0)
            break;
        length = sizeof sender;
        size = recvfrom(stream->requests, answer, sizeof answer, MSG_DONTWAIT,
                        (struct sockaddr *)&sender, &length);
        if (size < 0 && errno != ENOBUFS && errno != EAGAIN) /* of answers; ours may be next */
            return -errno;
        if (size <= 0 || length != sizeof sender || sender.port != 0)
            continue;
        error = procconn_find_answer(answer, (size_t)size, ack);
        if (error >= 0)
            return (int)error;
    } while (procconn_now_ns() < deadline_ns);
    return status < 0 ? status : -ETIME;
}

/* Where other programs sent IGNOREs too many, the count is below zero, and the kernel
 * answers nobody before it is positive. As it answers while the request is being sent,
 * a LISTEN without an answer is repeated, to make up for theirs. */
static int listen_until_answered(struct procconn_stream *stream, uint32_t nonce, int64_t timeout_ns)
{
    int status = -ETIME;

    while (status == -ETIME && stream->owed < MOST_LISTENS) {
        stream->owed++;
        status = request(stream, REQUEST_LISTEN, nonce);
        if (status == 0)
            status = await_answer(stream, nonce + 1, procconn_now_ns() + timeout_ns / MOST_LISTENS);
    }
    if (status >= 0)
        stream->owed = 1;
    return status;
}

int procconn_begin_listening(struct procconn_stream *stream, const struct procconn_filter *answers,
                             uint32_t nonce, int64_t timeout_ns)
{
    int group = CONNECTOR_GROUP, status;

    status = procconn_open_netlink(&stream->requests);
    if (status == 0)
        status = procconn_attach_filter(stream->requests, answers);
    if (status == 0)
        status = procconn_join_group(stream->requests);
    if (status == 0)
        status = listen_until_answered(stream, nonce, timeout_ns);
    if (status == 0 &&
        setsockopt(stream->requests, SOL_NETLINK, DROP_MEMBERSHIP, &group, sizeof group) != 0)
        status = -errno;
    return status > 0 ? -status : status;
}
