/* Reading one process into a program's tail. No state, no allocation, no stream. */
#ifndef PROCCONN_PROC_H
#define PROCCONN_PROC_H

#include <stdbool.h>

#include "procconn.h"

/* The tail of an EXEC: a header, then the texts in the order of their sizes. All bits
 * set: an id that is not known, a text that is absent. */
enum {
    PROGRAM_MAGIC = 0x636e7067,
    PROGRAM_VERSION = 1,
    PROGRAM_CUT = 1,           /* flags, bit 0 */
    PROGRAM_MISSING_SHIFT = 8, /* flags, bits 8 to 11: enum procconn_missing */
    PROGRAM_MOST_ARGV = 49152,
    PROGRAM_MOST_TEXT = 4096,
};

enum { ARGV_TEXT, NAME_TEXT, EXE_TEXT, CWD_TEXT, CGROUP_TEXT, TEXT_COUNT };
enum { PPID_ID, UID_ID, EUID_ID, GID_ID, EGID_ID, ID_COUNT };

struct program_header {
    uint32_t magic;
    uint16_t version, flags;
    uint32_t ids[ID_COUNT];
    uint16_t sizes[TEXT_COUNT];
    uint16_t padding;
};
_Static_assert(sizeof(struct program_header) == 40, "a program's header has 40 bytes");
_Static_assert(PROCCONN_TAIL_ROOM >
                   sizeof(struct program_header) + PROGRAM_MOST_ARGV + 5 * PROGRAM_MOST_TEXT,
               "all texts, and the file that the last of them is in, have room");

int64_t procconn_monotonic_ns(void);

/* Write the tail of which nothing is known. Returns its size. */
size_t procconn_blank_tail(uint8_t *tail, enum procconn_missing missing);

#endif
