/* The socket that tasks' records come from: open, register, end the registration. */
#ifndef PROCCONN_USAGE_SOCKET_H
#define PROCCONN_USAGE_SOCKET_H

#include <stdint.h>

/*
 * Open a socket that receives the records of all tasks that end from now on. Returns it or a
 * negative errno. *family is what the kernel has numbered taskstats with.
 */
int usage_socket_open(int receive_buffer, uint16_t *family);

/* Ends the registration; to be called once, by the process that opened it. */
void usage_socket_deregister(int fd, uint16_t family);

#endif
