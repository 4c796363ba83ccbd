/* Parse what the library attaches to events. */
#ifndef PROCCONN_TRAILER_H
#define PROCCONN_TRAILER_H

#include "wire/message.h"

/*
 * Parse what follows the union of an EXEC or EXIT. Sets event->trailer, and event->program, if it
 * is a complete trailer of the library, and not a newer kernel's longer union. Returns
 * PROCCONN_EVENT, or PROCCONN_BAD_FIELDS if it is malformed.
 */
enum procconn_status procconn_parse_trailer(struct procconn_event *event);

#endif
