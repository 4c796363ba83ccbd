/* The taskstats socket: open it, register, end the registration. */
#ifndef PROCCONN_USAGE_SOCKET_H
#define PROCCONN_USAGE_SOCKET_H

#include <stdint.h>

/*
 * Open a socket that receives the records of all tasks that end from now on. Returns it or a
 * negative errno. Sets *family to the ID of the taskstats family.
 */
int usage_socket_open(int receive_buffer, uint16_t *family);

/* End the registration. Call it once, in the process that opened the socket. */
void usage_socket_deregister(int fd, uint16_t family);

#endif
