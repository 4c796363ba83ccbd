/* Netlink messages of a machine of the other byte order. */
#ifndef PROCCONN_BYTEORDER_H
#define PROCCONN_BYTEORDER_H

#include <stddef.h>
#include <stdint.h>

/*
 * Convert a message from the other byte order, in place. `length`, at least that of a
 * netlink header, is all of it. Numbers that are not there completely, and what is not
 * the Proc Connector's or the library's, stay as they are.
 */
void procconn_message_swap(uint8_t *message, size_t length);

#endif
