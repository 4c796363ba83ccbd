/* Reading one process into a program's tail. No state, no allocation, no stream. */
#ifndef PROCCONN_PROC_H
#define PROCCONN_PROC_H

#include "wire/builder.h"
#include "system/system.h"

_Static_assert(PROCCONN_TAIL_ROOM >
                   sizeof(struct program_header) + PROGRAM_MOST_ARGV + 5 * PROGRAM_MOST_TEXT,
               "all texts, and the file that the last of them is in, have room");

#endif
