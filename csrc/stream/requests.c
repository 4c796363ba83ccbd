/*
 * LISTEN and IGNORE requests to the kernel, on a socket of their own. It is in the multicast
 * group only while it waits for an acknowledgement, so that no event has to pass through it,
 * and the kernel's per-socket state (Linux 6.6 and later) belongs to this socket alone.
 *
 * The kernel counts listeners, and does not notice when one closes its socket without an
 * IGNORE; before Linux 6.6 an excess IGNORE takes away another program's subscription. So each
 * LISTEN is counted before it is sent, and one IGNORE is sent for it.
 */
#include <errno.h>
#include <unistd.h>

#include "stream/stream.h"

enum {
    MOST_LISTENS = 8, /* before giving up */

    ADD_MEMBERSHIP = 1, /* linux/netlink.h */
    DROP_MEMBERSHIP = 2,

    LARGEST_ACKNOWLEDGEMENT = 4096,
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
    /* From 6.6 on a close frees the per-socket state only of group members. */
    setsockopt(fd, SOL_NETLINK, ADD_MEMBERSHIP, &group, sizeof group);
    stream->requests = -1; /* first: a child that is forked now must not close it */
    close(fd);
}

/* Wait for the acknowledgement of a request. Returns its errno; -ETIME if there is none. */
static int await_acknowledgement(struct procconn_stream *stream, uint32_t ack, int64_t deadline_ns)
{
    uint8_t datagram[LARGEST_ACKNOWLEDGEMENT];
    struct netlink_address sender;
    socklen_t length;
    int64_t error;
    ssize_t size;
    int status;

    do { /* those of other programs may keep coming, so check the deadline each time */
        status = procconn_sleep(stream->requests, stream->wake, deadline_ns);
        if (status <= 0)
            break;
        length = sizeof sender;
        size = recvfrom(stream->requests, datagram, sizeof datagram, MSG_DONTWAIT,
                        (struct sockaddr *)&sender, &length);
        if (size < 0 && errno != ENOBUFS && errno != EAGAIN) /* after an overrun ours may be next */
            return -errno;
        if (size <= 0 || !procconn_is_from_kernel(&sender, length))
            continue;
        error = procconn_find_answer(datagram, (size_t)size, ack);
        if (error >= 0)
            return (int)error;
    } while (procconn_now_ns() < deadline_ns);
    return status < 0 ? status : -ETIME;
}

/* Excess IGNOREs of other programs take the kernel's count of listeners below zero, and it
 * acknowledges nothing until the count is positive. So a LISTEN without an acknowledgement is
 * repeated. The kernel acknowledges while it handles the request, so a short wait suffices. */
static int listen_until_acknowledged(struct procconn_stream *stream, uint32_t nonce,
                                     int64_t timeout_ns)
{
    int status = -ETIME;

    while (status == -ETIME && stream->owed < MOST_LISTENS) {
        stream->owed++;
        status = request(stream, REQUEST_LISTEN, nonce);
        if (status == 0)
            status = await_acknowledgement(stream, nonce + 1,
                                           procconn_now_ns() + timeout_ns / MOST_LISTENS);
    }
    if (status >= 0)
        stream->owed = 1;
    return status;
}

int procconn_begin_listening(struct procconn_stream *stream, uint32_t nonce, int64_t timeout_ns)
{
    int group = CONNECTOR_GROUP, status;
    struct procconn_bpf bpf;

    procconn_filter_build_acknowledgements(&bpf);
    status = procconn_open_netlink(&stream->requests);
    if (status == 0)
        status = procconn_attach_bpf(stream->requests, &bpf);
    if (status == 0)
        status = procconn_join_group(stream->requests);
    if (status == 0)
        status = listen_until_acknowledged(stream, nonce, timeout_ns);
    if (status == 0 &&
        setsockopt(stream->requests, SOL_NETLINK, DROP_MEMBERSHIP, &group, sizeof group) != 0)
        status = -errno;
    return status > 0 ? -status : status;
}
