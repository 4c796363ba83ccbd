/* Convert netlink messages from the other byte order. */
#ifndef PROCCONN_BYTEORDER_H
#define PROCCONN_BYTEORDER_H

#include <stddef.h>
#include <stdint.h>

/*
 * Convert a message from the other byte order, in place. `length` is that of the whole message, at
 * least a netlink header. Incomplete numbers, and payloads of other connectors, stay as they are.
 */
void procconn_message_swap(uint8_t *message, size_t length);

#endif
