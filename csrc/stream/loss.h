/*
 * Loss: how many events are missing, and where in the stream they are missing.
 *
 * The kernel counts the datagrams that it drops at a full socket, but does not report where they
 * would have been. Each time its count has grown, an overrun is noted: it lies after every event
 * that was queued at a known time. Before the first later message is appended, the overrun is taken
 * and written. Times are on CLOCK_MONOTONIC, like the events' timestamps.
 *
 * This code makes no system calls and needs no socket: tests call it with plain numbers.
 * csrc/build.py declares it for them.
 */
#ifndef PROCCONN_LOSS_H
#define PROCCONN_LOSS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct overrun {
    uint64_t count;   /* of events; 0 if the kernel does not count them */
    int64_t since_ns; /* it lies after every event queued by then; where the socket was emptied,
                         messages before it may be later */
};

enum {
    MAX_OVERRUNS = 1024, /* noted and not taken yet */

    /* Bytes that the kernel charges for one event. A socket may hold twice the size that was passed
     * to setsockopt(). */
    EVENT_CHARGE = 832,
};

struct loss {
    uint64_t drops;     /* datagrams that the kernel dropped */
    uint64_t malformed; /* datagrams of the kernel that could not be decoded */
    uint64_t noted;     /* of both, in overruns */
    uint64_t unchecked; /* datagrams received since the socket was last empty */
    int64_t asked_ns;   /* when the kernel's count was last read */
    size_t overrun_count;
    struct overrun overruns[MAX_OVERRUNS];
};

/* Count received datagrams; count a malformed one. */
void loss_receive(struct loss *loss, uint64_t datagrams);
void loss_refuse(struct loss *loss);

/* Set drops from the kernel's count, which has 32 bits and begins at 0 with the socket. */
void loss_set_drops(struct loss *loss, uint32_t drops);

/* Return whether to read the kernel's count between two receives of one drain: at most once a
 * millisecond, and not before the socket, empty at synced_until_ns, can have been full. If so, sets
 * asked_ns to now_ns. */
bool loss_ask_amid(struct loss *loss, int64_t now_ns, int64_t synced_until_ns, int64_t min_fill_ns);

/* Return whether to read it after a drain that began at began_ns and left the socket empty. */
bool loss_ask_after(struct loss *loss, int64_t began_ns, uint32_t receive_buffer);

/* Note an overrun if anything was lost that is not noted yet or, on a kernel that does not count
 * drops, if is_uncounted. Returns whether one was noted. */
bool loss_note(struct loss *loss, bool is_uncounted, int64_t since_ns);

/* Take the overruns that lie before a message with this timestamp, merged into one, as no
 * message lies between them. Returns false if there are none. */
bool loss_take(struct loss *loss, int64_t timestamp_ns, struct overrun *overrun);

/* Return the number of events lost so far, noted or not. */
uint64_t loss_total(const struct loss *loss);

#endif
