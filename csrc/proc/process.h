/* Read one process into a program's trailer. No state, no allocation, no stream. */
#ifndef PROCCONN_PROCESS_H
#define PROCCONN_PROCESS_H

#include "internals.h"
#include "wire/builder.h"

/*
 * Read the current state of a process into a trailer of PROCCONN_TRAILER_CAPACITY bytes. All fields
 * belong to one process. With `pin`, opens its memory last; the caller closes it.
 */
void procconn_read_process(uint32_t pid, uint32_t pin, uint8_t *trailer,
                           struct procconn_reading *reading);

/*
 * Read the program that a process is running into a trailer of PROCCONN_TRAILER_CAPACITY bytes. All
 * fields belong to one process and one program.
 */
void procconn_read_running(uint32_t pid, uint8_t *trailer, struct procconn_reading *reading);

_Static_assert(PROCCONN_TRAILER_CAPACITY >
                   sizeof(struct program_header) + PROGRAM_MOST_ARGV + 5 * PROGRAM_MOST_TEXT,
               "all texts, and the file that the last of them is in, fit");

#endif
