#include "netlink/events.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "netlink/socket.h"
#include "system/system.h"

enum { DAY = 86400 }; /* seconds */

void event_socket_init(struct event_socket *events)
{
    events->fd = -1;
}

void event_socket_close(struct event_socket *events)
{
    procconn_close_descriptor(&events->fd);
}

/* The kernel grants, and reports, twice the requested size (socket(7)). */
static int size_receive_buffer(struct event_socket *events, int receive_buffer)
{
    int size, status = netlink_set_receive_buffer(events->fd, receive_buffer);
    socklen_t length = sizeof size;

    if (status < 0)
        return status;
    if (getsockopt(events->fd, SOL_SOCKET, SO_RCVBUF, &size, &length) != 0)
        return -errno;
    events->receive_buffer = (uint32_t)size / 2;
    return 0;
}

/* A receive with a timeout returns EINTR after every signal handler, even with SA_RESTART
 * (signal(7)), so that Python's handlers can run. */
static int let_signals_interrupt(int fd)
{
    struct timeval timeout = {.tv_sec = DAY};

    return setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout) == 0 ? 0 : -errno;
}

int event_socket_open(struct event_socket *events, int receive_buffer,
                      const struct procconn_filter *filter)
{
    uint32_t meminfo[MEMINFO_COUNT];
    int status = netlink_open(&events->fd);

    if (status == 0)
        status = size_receive_buffer(events, receive_buffer);
    if (status == 0)
        status = let_signals_interrupt(events->fd);
    if (status < 0)
        return status;
    events->counts_drops = netlink_read_meminfo(events->fd, meminfo);
    if (events->counts_drops)
        status = netlink_ignore_overruns(events->fd);
    if (status == 0)
        status = netlink_attach_filter(events->fd, filter);
    return status == 0 ? netlink_join_group(events->fd) : status;
}
