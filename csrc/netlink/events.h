/* The socket that receives process events. */
#ifndef PROCCONN_NETLINK_EVENTS_H
#define PROCCONN_NETLINK_EVENTS_H

#include "procconn.h"

struct event_socket {
    int fd;
    uint32_t receive_buffer; /* bytes that the kernel granted, in setsockopt() units */
    uint32_t counts_drops;   /* 0 if this kernel does not count them (before 4.12) */
};

void event_socket_init(struct event_socket *events);

/* Open the socket, size its receive buffer, attach the filter, join the multicast group. Returns 0
 * or a negative errno, after which fd may be open. */
int event_socket_open(struct event_socket *events, int receive_buffer,
                      const struct procconn_filter *filter);

/* Close it if it is open. */
void event_socket_close(struct event_socket *events);

#endif
