#include "netlink/batch.h"

#include <errno.h>

void batch_init(struct batch *batch, uint8_t *slots, size_t count, size_t slot_size,
                size_t slot_distance)
{
    batch->slots = slots;
    batch->slot_size = slot_size;
    batch->slot_distance = slot_distance;
    for (size_t i = 0; i < count; i++) {
        batch->iovecs[i] = (struct iovec){slots + i * slot_distance, slot_size};
        batch->headers[i].msg_hdr = (struct msghdr){
            .msg_name = &batch->senders[i],
            .msg_namelen = sizeof batch->senders[i], /* the kernel leaves it at that */
            .msg_iov = &batch->iovecs[i],
            .msg_iovlen = 1,
        };
    }
}

int batch_receive(struct batch *batch, int fd, size_t most, bool waits)
{
    int flags = (waits ? MSG_WAITFORONE : MSG_DONTWAIT) | MSG_TRUNC;
    int count = recvmmsg(fd, batch->headers, (unsigned)most, flags, NULL);

    return count < 0 ? -errno : count;
}
