/* What the library attaches to events, checked. */
#ifndef PROCCONN_TRAILER_H
#define PROCCONN_TRAILER_H

#include "wire/message.h"

/*
 * Look at what an EXEC or EXIT has after its union. Sets event->trailer, and event->program, if
 * that is the library's and complete; not if it is a newer kernel's. Returns PROCCONN_EVENT, or
 * PROCCONN_BAD_FIELDS if it is malformed.
 */
enum procconn_status procconn_parse_trailer(struct procconn_event *event);

#endif
