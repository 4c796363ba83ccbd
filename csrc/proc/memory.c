#include "proc/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

bool procconn_memory_lives(int memory)
{
    uint64_t word;

    return pread(memory, &word, sizeof word, 0) > 0;
}

/* Both files require PTRACE_MODE_READ. pagemap is cheaper, but only its owner and CAP_DAC_OVERRIDE
 * may open it. */
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

/* Hold at most a quarter of the descriptors that this process may have. */
void procconn_memories_init(struct memories *memories)
{
    struct rlimit limit;

    memories->most = MOST_MEMORIES;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur / 4 < MOST_MEMORIES)
        memories->most = (size_t)limit.rlim_cur / 4;
}

/* Remove an entry, move the last one to its index, and return its descriptor. */
static int remove_entry(struct memories *memories, size_t i)
{
    int fd = memories->held[i].fd;

    memories->held[i] = memories->held[--memories->count];
    return fd;
}

static void release_first(struct memories *memories)
{
    size_t first = 0;

    for (size_t i = 1; i < memories->count; i++)
        if (memories->held[i].until_ns < memories->held[first].until_ns)
            first = i;
    close(remove_entry(memories, first));
}

void procconn_memories_hold(struct memories *memories, uint32_t pid, int memory, int64_t until_ns)
{
    if (memories->most == 0) {
        close(memory);
        return;
    }
    if (memories->count == memories->most)
        release_first(memories);
    memories->held[memories->count].fd = memory;
    memories->held[memories->count].pid = pid;
    memories->held[memories->count++].until_ns = until_ns;
}

int procconn_memories_take(struct memories *memories, uint32_t pid)
{
    for (size_t i = 0; i < memories->count; i++)
        if (memories->held[i].pid == pid)
            return remove_entry(memories, i);
    return -1;
}

size_t procconn_memories_expire(struct memories *memories, int64_t now_ns)
{
    for (size_t i = memories->count; i-- > 0;)
        if (memories->held[i].until_ns < now_ns)
            close(remove_entry(memories, i));
    return memories->count;
}
