/* Reading one process into a program's tail. No state, no allocation, no stream. */
#ifndef PROCCONN_PROC_H
#define PROCCONN_PROC_H

#include <stdbool.h>

#include "procconn.h"
#include "system.h"
#include "wire.h"

_Static_assert(PROCCONN_TAIL_ROOM >
                   sizeof(struct program_header) + PROGRAM_MOST_ARGV + 5 * PROGRAM_MOST_TEXT,
               "all texts, and the file that the last of them is in, have room");

/* Equal bytes have the same. */
uint64_t procconn_fingerprint(const uint8_t *bytes, size_t size);

/* Write the tail of which nothing is known. Returns its size. */
size_t procconn_blank_tail(uint8_t *tail, enum procconn_missing missing);

#endif
