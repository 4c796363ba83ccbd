#include "netlink/socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "wire/filter.h"
#include "wire/wire.h"

enum {
    /* asm-generic/socket.h */
    ATTACH_FILTER = 26,
    RECEIVE_BUFFER_FORCE = 33,
    MEMINFO = 55,

    /* linux/socket.h, linux/netlink.h */
    NETLINK_LEVEL = 270,
    NO_ENOBUFS = 5,
};

/* linux/filter.h */
struct sock_fprog {
    uint16_t length;
    const struct procconn_instruction *instructions;
};

int netlink_open(int *fd)
{
    *fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, CONNECTOR_PROTOCOL);
    return *fd < 0 ? -errno : 0;
}

int netlink_join_group(int fd)
{
    struct netlink_address address = {.family = AF_NETLINK, .groups = CONNECTOR_GROUP};

    return bind(fd, (const struct sockaddr *)&address, sizeof address) == 0 ? 0 : -errno;
}

int netlink_attach_program(int fd, const struct procconn_bpf *bpf)
{
    struct sock_fprog program = {bpf->count, bpf->instructions};

    return setsockopt(fd, SOL_SOCKET, ATTACH_FILTER, &program, sizeof program) == 0 ? 0 : -errno;
}

int netlink_attach_filter(int fd, const struct procconn_filter *filter)
{
    struct procconn_bpf bpf;

    procconn_filter_build(filter, &bpf);
    return netlink_attach_program(fd, &bpf);
}

int netlink_set_receive_buffer(int fd, int size)
{
    if (setsockopt(fd, SOL_SOCKET, RECEIVE_BUFFER_FORCE, &size, sizeof size) != 0 &&
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size) != 0)
        return -errno;
    return 0;
}

int netlink_ignore_overruns(int fd)
{
    int on = 1;

    return setsockopt(fd, NETLINK_LEVEL, NO_ENOBUFS, &on, sizeof on) == 0 ? 0 : -errno;
}

bool netlink_read_meminfo(int fd, uint32_t meminfo[MEMINFO_COUNT])
{
    socklen_t size = MEMINFO_COUNT * sizeof meminfo[0];

    return getsockopt(fd, SOL_SOCKET, MEMINFO, meminfo, &size) == 0 &&
           size == MEMINFO_COUNT * sizeof meminfo[0];
}

bool netlink_is_from_kernel(const void *address, size_t size)
{
    struct netlink_address sender;

    if (size != sizeof sender)
        return false;
    memcpy(&sender, address, sizeof sender);
    return sender.port == 0;
}
