#define _GNU_SOURCE /* O_CLOEXEC */
#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

bool procconn_memory_lives(int memory)
{
    uint64_t word;

    return pread(memory, &word, sizeof word, 0) > 0;
}

/* Both files take PTRACE_MODE_READ; pagemap is cheaper, and only its owner and
 * CAP_DAC_OVERRIDE may open it. */
int procconn_memory_open(int directory)
{
    int fd = openat(directory, "pagemap", O_RDONLY | O_CLOEXEC);

    if (fd < 0 && errno == EACCES)
        fd = openat(directory, "maps", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (procconn_memory_lives(fd))
        return fd;
    close(fd);
    return -ESRCH;
}

/* At most a quarter of the descriptors that this process may have. */
void procconn_memories_init(struct memories *memories)
{
    struct rlimit limit;

    memories->most = MOST_MEMORIES;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur / 4 < MOST_MEMORIES)
        memories->most = (size_t)limit.rlim_cur / 4;
    for (size_t i = 0; i < MOST_MEMORIES; i++)
        memories->held[i].fd = -1;
}

static void release(struct memories *memories, size_t i)
{
    int fd = memories->held[i].fd;

    memories->held[i].fd = -1;
    close(fd);
}

void procconn_memories_hold(struct memories *memories, uint32_t pid, int memory, int64_t until_ns)
{
    size_t place = 0;

    for (size_t i = 0; i < memories->most && memories->held[place].fd >= 0; i++)
        if (memories->held[i].fd < 0 || memories->held[i].until_ns < memories->held[place].until_ns)
            place = i;
    if (memories->most > 0 && memories->held[place].fd >= 0)
        release(memories, place);
    if (memories->most == 0) {
        close(memory);
        return;
    }
    memories->held[place].pid = pid;
    memories->held[place].until_ns = until_ns;
    memories->held[place].fd = memory;
}

int procconn_memories_take(struct memories *memories, uint32_t pid)
{
    for (size_t i = 0; i < memories->most; i++) {
        int fd = memories->held[i].fd;

        if (fd >= 0 && memories->held[i].pid == pid) {
            memories->held[i].fd = -1;
            return fd;
        }
    }
    return -1;
}

bool procconn_memories_expire(struct memories *memories, int64_t now_ns)
{
    bool holds = false;

    for (size_t i = 0; i < memories->most; i++) {
        if (memories->held[i].fd < 0)
            continue;
        if (memories->held[i].until_ns < now_ns)
            release(memories, i);
        else
            holds = true;
    }
    return holds;
}
