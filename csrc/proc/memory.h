/*
 * Memory as the proof of which program was read. A descriptor of /proc/PID/pagemap is of the
 * memory that the process had when it was opened, and reads nothing, for good, as soon as
 * that is no process's any more: after the next exec, or the end. No process can forge this.
 * The descriptor keeps the kernel's record of the memory, not the memory.
 */
#ifndef PROCCONN_MEMORY_H
#define PROCCONN_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "procconn.h"

enum { MOST_MEMORIES = 256 };

/* Those that a later exec of the process may have to be distinguished from. */
struct memories {
    size_t most, count;
    struct {
        int fd;
        uint32_t pid;
        int64_t until_ns;
    } held[MOST_MEMORIES];
};

/* Returns a descriptor that reads something, or a negative errno. */
int procconn_memory_open(int directory);
bool procconn_memory_lives(int memory);

void procconn_memories_init(struct memories *memories);

/* Takes the descriptor over. If too many are held, one that is needed least long goes. */
void procconn_memories_hold(struct memories *memories, uint32_t pid, int memory, int64_t until_ns);

/* Hand over the descriptor that is held of the process, or -1. */
int procconn_memories_take(struct memories *memories, uint32_t pid);

/* Close those that were needed until then. Returns how many others are held. */
size_t procconn_memories_expire(struct memories *memories, int64_t now_ns);

#endif
