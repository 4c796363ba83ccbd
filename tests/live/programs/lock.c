/* Lock the own memory, so that who reads the arguments waits until a file can be read.
 *
 * The file is the one that FILE names. A thread reads a page of it by /proc/self/mem, which
 * has the lock meanwhile, and another one waits to write: no reader overtakes it. Says "ready"
 * then.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SIZE = 4096, PAUSE_US = 1000, MOST_PAUSES = 5000 };

static volatile pid_t reader, writer;
static volatile bool is_locked;
static char *page;

static void *read_page(void *unused)
{
    char bytes[1];

    reader = gettid();
    if (pread(open("/proc/self/mem", O_RDONLY), bytes, 1, (off_t)(uintptr_t)page) < 0)
        return unused;
    return unused;
}

static void *map_another(void *unused)
{
    while (!is_locked)
        sched_yield();
    writer = gettid();
    mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return unused;
}

/* Until it waits in the kernel: neither has anything else to wait for. False if it does not. */
static bool await(volatile pid_t *thread)
{
    char path[64], text[512], state = 0;
    ssize_t size;
    int fd;

    for (int i = 0; i < MOST_PAUSES && state != 'D' && state != 'S'; i++) {
        usleep(PAUSE_US);
        snprintf(path, sizeof path, "/proc/self/task/%d/stat", *thread);
        fd = open(path, O_RDONLY);
        size = read(fd, text, sizeof text - 1);
        close(fd);
        text[size > 0 ? size : 0] = 0;
        state = size > 0 ? strrchr(text, ')')[2] : 0;
    }
    return state == 'D' || state == 'S';
}

int main(void)
{
    pthread_t threads[2];
    int fd = open(getenv("FILE"), O_RDONLY);

    page = mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE, fd, 0);
    if (page == MAP_FAILED)
        return 1;
    pthread_create(&threads[1], NULL, map_another, NULL);
    pthread_create(&threads[0], NULL, read_page, NULL);
    if (!await(&reader))
        _exit(1);
    is_locked = true;
    if (!await(&writer) || write(1, "ready\n", 6) != 6)
        _exit(1);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    return 0;
}
