/*
 * Memory as the proof of which program was read. A descriptor of /proc/PID/pagemap refers to the
 * memory that the process had when it was opened. Once no process uses that memory, after the next
 * exec or the exit, reads return nothing, permanently. No process can forge this. The descriptor
 * keeps the kernel's mm_struct, not the memory.
 */
#ifndef PROCCONN_MEMORY_H
#define PROCCONN_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "procconn.h"

enum { MOST_MEMORIES = 256 };

/* Memories from which a later exec of the process may have to be distinguished. */
struct memories {
    size_t most, count;
    struct {
        int fd;
        uint32_t pid;
        int64_t until_ns;
    } held[MOST_MEMORIES];
};

/* Return a descriptor of the process's memory, or a negative errno: -ESRCH if it has none. */
int procconn_memory_open(int directory);
bool procconn_memory_lives(int memory);

void procconn_memories_init(struct memories *memories);

/* Hold the descriptor, which `memories` then owns. If too many are held, the first to expire is
 * closed. */
void procconn_memories_hold(struct memories *memories, uint32_t pid, int memory, int64_t until_ns);

/* Return the descriptor held for the process, which the caller then owns; -1 if there is none. */
int procconn_memories_take(struct memories *memories, uint32_t pid);

/* Close the descriptors that expired before now_ns. Returns how many are still held. */
size_t procconn_memories_expire(struct memories *memories, int64_t now_ns);

#endif
