/* Datagrams received by one recvmmsg(2), each in a slot of its own. */
#ifndef PROCCONN_NETLINK_BATCH_H
#define PROCCONN_NETLINK_BATCH_H

#include <sys/socket.h> /* struct mmsghdr */

#include "netlink/socket.h"
#include "wire/wire.h"

enum { BATCH_MOST = 32 }; /* datagrams */

struct batch {
    uint8_t *slots;
    size_t slot_size, slot_distance;
    struct mmsghdr headers[BATCH_MOST];
    struct iovec iovecs[BATCH_MOST];
    struct netlink_address senders[BATCH_MOST];
};

/* Initialize a batch of `count` slots of slot_size bytes, slot_distance bytes apart. batch_receive
 * can fill at most `count`. */
void batch_init(struct batch *batch, uint8_t *slots, size_t count, size_t slot_size,
                size_t slot_distance);

/* Receive up to `most` datagrams. Returns how many there were, or a negative errno. With
 * `waits`, waits for the first. */
int batch_receive(struct batch *batch, int fd, size_t most, bool waits);

/* Return a received datagram and its size, which exceeds slot_size if it was truncated; NULL if the
 * kernel did not send it. */
static inline const uint8_t *batch_datagram(const struct batch *batch, size_t i, size_t *size)
{
    const struct mmsghdr *header = &batch->headers[i];

    *size = header->msg_len;
    if (!netlink_is_from_kernel(header->msg_hdr.msg_name, header->msg_hdr.msg_namelen))
        return NULL;
    return batch->slots + i * batch->slot_distance;
}

#endif
