/* The state that is kept between drains of the event socket. */
#ifndef PROCCONN_DRAIN_H
#define PROCCONN_DRAIN_H

#include "netlink/batch.h"

enum {
    /* A slot holds any datagram: an event has 76 bytes. Slots are slightly further apart, so that
     * they do not compete for the same cache lines. */
    SLOT_SIZE = 256,
    SLOT_DISTANCE = SLOT_SIZE + 64,
};

struct drain {
    int64_t synced_until_ns; /* all events until then were drained; after a receive that
                              * waited, all but those of a few microseconds */
    bool refilters;          /* until the socket is empty */
    struct batch batch;
    uint8_t slots[BATCH_MOST][SLOT_DISTANCE];
};

void drain_init(struct drain *drain);

/* Until the socket is empty, check each event against the filter: events that are queued there may
 * have passed an earlier one. */
void drain_refilter(struct drain *drain);

#endif
