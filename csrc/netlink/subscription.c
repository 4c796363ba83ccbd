#include "netlink/subscription.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "netlink/socket.h"
#include "system/system.h"
#include "wire/decode.h"

enum {
    MOST_LISTENS = 8, /* before giving up */

    ADD_MEMBERSHIP = 1, /* linux/netlink.h */
    DROP_MEMBERSHIP = 2,

    LARGEST_ACKNOWLEDGEMENT = 4096,
};

void subscription_init(struct subscription *subscription)
{
    subscription->socket = -1;
}

static int request(const struct subscription *subscription, uint32_t operation, uint32_t ack)
{
    const struct netlink_address kernel = {.family = AF_NETLINK};
    uint8_t message[REQUEST_SIZE];
    ssize_t sent;

    procconn_write_headers(message, REQUEST_SIZE, CN_IDX_PROC, CN_VAL_PROC);
    procconn_store_u32(message + CN_MSG_ACK_AT, ack);
    procconn_store_u32(message + EVENT_AT, operation);
    sent = sendto(subscription->socket, message, sizeof message, 0,
                  (const struct sockaddr *)&kernel, sizeof kernel);
    return sent < 0 ? -errno : 0;
}

static void close_socket(struct subscription *subscription)
{
    int group = CONNECTOR_GROUP;

    if (subscription->socket < 0)
        return;
    /* Since Linux 6.6 a close frees the per-socket state only of group members. */
    setsockopt(subscription->socket, SOL_NETLINK, ADD_MEMBERSHIP, &group, sizeof group);
    procconn_close_descriptor(&subscription->socket);
}

void subscription_end(struct subscription *subscription)
{
    int listens = atomic_exchange(&subscription->listen_references, 0);

    for (; listens > 0; listens--)
        request(subscription, REQUEST_IGNORE, 0);
    close_socket(subscription);
}

void subscription_forget(struct subscription *subscription)
{
    atomic_store(&subscription->listen_references, 0);
    close_socket(subscription);
}

void subscription_close(struct subscription *subscription)
{
    procconn_close_descriptor(&subscription->socket);
}

/* Wait for the acknowledgement of a request. Returns its errno; -ETIME if there is none. */
static int await_acknowledgement(const struct subscription *subscription, uint32_t ack,
                                 int64_t deadline_ns, int wake)
{
    uint8_t datagram[LARGEST_ACKNOWLEDGEMENT];
    struct netlink_address sender;
    socklen_t length;
    int64_t error;
    ssize_t size;
    int status;

    do { /* acknowledgements of other programs may keep coming: check the deadline */
        status = procconn_sleep(subscription->socket, wake, deadline_ns);
        if (status <= 0)
            break;
        length = sizeof sender;
        size = recvfrom(subscription->socket, datagram, sizeof datagram, MSG_DONTWAIT,
                        (struct sockaddr *)&sender, &length);
        if (size < 0 && errno != ENOBUFS && errno != EAGAIN) /* after an overrun ours may be next */
            return -errno;
        if (size <= 0 || !netlink_is_from_kernel(&sender, length))
            continue;
        error = procconn_find_acknowledgement(datagram, (size_t)size, ack);
        if (error >= 0)
            return (int)error;
    } while (procconn_now_ns() < deadline_ns);
    return status < 0 ? status : -ETIME;
}

/* Excess IGNOREs of other programs take the kernel's count of listeners below zero, and it
 * acknowledges nothing until the count is positive. So a LISTEN without an acknowledgement is
 * repeated. The kernel acknowledges while it handles the request, so a short wait suffices. */
static int listen_until_acknowledged(struct subscription *subscription, uint32_t nonce,
                                     int64_t timeout_ns, int wake)
{
    int status = -ETIME;

    while (status == -ETIME && subscription->listen_references < MOST_LISTENS) {
        subscription->listen_references++;
        status = request(subscription, REQUEST_LISTEN, nonce);
        if (status == 0)
            status = await_acknowledgement(subscription, nonce + 1,
                                           procconn_now_ns() + timeout_ns / MOST_LISTENS, wake);
    }
    if (status >= 0)
        subscription->listen_references = 1;
    return status;
}

int subscription_begin(struct subscription *subscription, uint32_t nonce, int64_t timeout_ns,
                       int wake)
{
    int group = CONNECTOR_GROUP, status;
    struct procconn_bpf bpf;

    if (subscription->listen_references > 0)
        return 0;
    procconn_filter_build_acknowledgements(&bpf);
    status = netlink_open(&subscription->socket);
    if (status == 0)
        status = netlink_attach_program(subscription->socket, &bpf);
    if (status == 0)
        status = netlink_join_group(subscription->socket);
    if (status == 0)
        status = listen_until_acknowledged(subscription, nonce, timeout_ns, wake);
    if (status == 0 &&
        setsockopt(subscription->socket, SOL_NETLINK, DROP_MEMBERSHIP, &group, sizeof group) != 0)
        status = -errno;
    return status > 0 ? -status : status;
}
