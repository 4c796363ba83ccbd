#define _GNU_SOURCE /* ppoll, recvmmsg */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

#include "decode.h"

enum {
    /* A place holds any datagram whole: an event has 76 bytes. Those of one call
     * are apart by a little more, so that they do not compete for the same lines
     * of the cache. */
    PLACE_SIZE = 256,
    PLACE_DISTANCE = PLACE_SIZE + 64,

    /* Datagrams that one call of the kernel brings. */
    BATCH = 32,

    /* One drain ends after so many datagrams from others than the kernel, so that
     * a flood of them cannot keep the caller from its deadline. */
    MAX_REFUSED = 1 << 12,

    /* What one event costs of the socket's receive buffer, and the fastest that
     * events were seen to come; together: how soon a socket can be full. */
    EVENT_CHARGE = 832,
    EVENT_INTERVAL_NS = 500,

    NS_PER_S = 1000000000,
};

/* linux/sock_diag.h, for SO_MEMINFO */
enum {
    MEMINFO_QUEUED = 0,
    MEMINFO_LIMIT = 1,
    MEMINFO_DROPS = 8,
    MEMINFO_COUNT = 9,
    MEMINFO_OPTION = 55,
};

/* What one call of the kernel brings. */
struct batch {
    struct mmsghdr headers[BATCH];
    struct iovec iovecs[BATCH];
    struct netlink_address senders[BATCH];
    uint8_t places[BATCH][PLACE_DISTANCE];
};

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

static int64_t earlier(int64_t a, int64_t b)
{
    if (a < 0 || b < 0)
        return a < 0 ? b : a;
    return a < b ? a : b;
}

/* Sleeps until the socket (unless fd is -1) or `wake` is readable, or the time
 * has come. Returns 1, 0 or a negative errno. An error on the socket counts as
 * readable: the next receive tells what it was. */
static int sleep_until(int fd, int wake, int64_t until_ns)
{
    struct pollfd watched[2] = {{.fd = wake, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    struct timespec left = {0};
    int64_t left_ns;
    int ready;

    if (until_ns >= 0) {
        left_ns = until_ns - now_ns();
        if (left_ns > 0) {
            left.tv_sec = (time_t)(left_ns / NS_PER_S);
            left.tv_nsec = (long)(left_ns % NS_PER_S);
        }
    }
    ready = ppoll(watched, 2, until_ns >= 0 ? &left : NULL, NULL);
    if (ready < 0)
        return -errno;
    if (watched[0].revents != 0)
        return -ECANCELED;
    return ready > 0;
}

static bool read_meminfo(int fd, uint32_t meminfo[MEMINFO_COUNT])
{
    socklen_t size = MEMINFO_COUNT * sizeof meminfo[0];

    return getsockopt(fd, SOL_SOCKET, MEMINFO_OPTION, meminfo, &size) == 0 &&
           size == MEMINFO_COUNT * sizeof meminfo[0];
}

int64_t procconn_gathering_ns(int fd)
{
    uint32_t meminfo[MEMINFO_COUNT];
    uint32_t half;

    if (!read_meminfo(fd, meminfo))
        return 0;
    half = meminfo[MEMINFO_LIMIT] / 2;
    return meminfo[MEMINFO_QUEUED] < half ? half / EVENT_CHARGE * (int64_t)EVENT_INTERVAL_NS : 0;
}

/* Lets events gather until the time has come or the socket is half full. */
static int gather(int fd, int wake, int64_t until_ns)
{
    int64_t look_ns;
    int status = 0;

    while (status == 0 && now_ns() < until_ns && (look_ns = procconn_gathering_ns(fd)) > 0)
        status = sleep_until(-1, wake, earlier(until_ns, now_ns() + look_ns));
    return status;
}

/* Waits for the first datagram and lets others gather behind it. One that is
 * there at once has come since the last drain emptied the socket. */
static int wait_for_events(int fd, int wake, int64_t deadline_ns, int64_t gather_ns,
                           int64_t emptied_ns)
{
    int64_t since_ns = emptied_ns;
    int status;

    if (gather_ns == 0)
        return sleep_until(fd, wake, deadline_ns);
    status = sleep_until(fd, wake, 0);
    if (status == 0) {
        status = sleep_until(fd, wake, deadline_ns);
        since_ns = now_ns();
    }
    if (status <= 0 || since_ns == 0)
        return status;
    return gather(fd, wake, earlier(deadline_ns, since_ns + gather_ns));
}

/* Tells how many datagrams there are room for, and makes the batch ready for them. */
static unsigned prepare(struct batch *batch, size_t room)
{
    size_t fitting = room / PLACE_SIZE;
    unsigned count = fitting < BATCH ? (unsigned)fitting : BATCH;

    for (unsigned i = 0; i < count; i++) {
        batch->iovecs[i] = (struct iovec){batch->places[i], PLACE_SIZE};
        batch->headers[i].msg_hdr = (struct msghdr){
            .msg_name = &batch->senders[i],
            .msg_namelen = sizeof batch->senders[i],
            .msg_iov = &batch->iovecs[i],
            .msg_iovlen = 1,
        };
    }
    return count;
}

/* Appends a datagram to the buffer if it is the kernel's and whole. */
static bool append(const struct batch *batch, unsigned i, uint8_t *buffer,
                   struct procconn_received *received)
{
    const struct mmsghdr *header = &batch->headers[i];

    if (header->msg_hdr.msg_namelen < sizeof batch->senders[i] || batch->senders[i].port != 0)
        return false;
    if (header->msg_len > PLACE_SIZE || !procconn_is_framed(batch->places[i], header->msg_len)) {
        received->damaged++;
        return false;
    }
    memcpy(buffer + received->size, batch->places[i], header->msg_len);
    received->size += header->msg_len;
    return true;
}

/* Takes what is waiting. Fails only if nothing was taken; a failure after that
 * comes back with the next call. */
static int drain(int fd, uint8_t *buffer, size_t capacity, struct procconn_received *received)
{
    struct batch batch;
    unsigned room, refused = 0;
    int count, error = 0;

    received->started_ns = now_ns();
    while (refused < MAX_REFUSED && (room = prepare(&batch, capacity - received->size)) > 0) {
        count = recvmmsg(fd, batch.headers, room, MSG_DONTWAIT | MSG_TRUNC, NULL);
        for (int i = 0; i < count; i++)
            refused += !append(&batch, (unsigned)i, buffer, received);
        if (count < 0 && errno == ENOBUFS) {
            received->overflowed = 1;
            refused++;
        } else if (count < 0) {
            error = -errno;
            break;
        }
    }
    received->emptied_ns = error == -EAGAIN ? now_ns() : 0;
    return received->size > 0 || error == -EAGAIN ? 0 : error;
}

static int wait_and_drain(int fd, int wake, int64_t deadline_ns, int64_t gather_ns,
                          uint8_t *buffer, size_t capacity, struct procconn_received *received)
{
    int status;

    if (gather_ns == 0) { /* what is there needs no poll */
        status = drain(fd, buffer, capacity, received);
        if (status < 0 || received->size > 0)
            return status;
    }
    status = wait_for_events(fd, wake, deadline_ns, gather_ns, received->emptied_ns);
    return status < 0 ? status : drain(fd, buffer, capacity, received);
}

int procconn_receive(int fd, int wake, int64_t deadline_ns, int64_t gather_ns, uint8_t *buffer,
                     size_t capacity, struct procconn_received *received)
{
    uint32_t meminfo[MEMINFO_COUNT];
    int status;

    received->size = 0;
    received->overflowed = 0;
    received->damaged = 0;
    status = wait_and_drain(fd, wake, deadline_ns, gather_ns, buffer, capacity, received);
    received->has_drops = read_meminfo(fd, meminfo);
    received->drops = received->has_drops ? meminfo[MEMINFO_DROPS] : 0;
    return status;
}

int procconn_rename_thread(void)
{
    char name[COMM_NAME_SIZE];

    if (prctl(PR_GET_NAME, name) != 0 || prctl(PR_SET_NAME, name) != 0)
        return -errno;
    return 0;
}
