/* Keep the mmap lock of this process busy, so that a reader of its argv blocks until the
 * file $FILE can be read.
 *
 * One thread reads a mapped page of the file through /proc/self/mem, which holds the lock for
 * reading during the page fault. Another thread waits for it for writing (mmap), which makes
 * later readers queue. Prints "ready" then.
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

enum { SIZE = 4096, PAUSE_US = 1000, MAX_PAUSES = 5000 };

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

static void *map_page(void *unused)
{
    while (!is_locked)
        sched_yield();
    writer = gettid();
    mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return unused;
}

/* Wait until the thread sleeps in the kernel, which it does only for the lock or the file;
 * return false on timeout. */
static bool wait_until_blocked(volatile pid_t *thread)
{
    char path[64], text[512], state = 0;
    ssize_t size;
    int fd;

    for (int i = 0; i < MAX_PAUSES && state != 'D' && state != 'S'; i++) {
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
    pthread_create(&threads[1], NULL, map_page, NULL);
    pthread_create(&threads[0], NULL, read_page, NULL);
    if (!wait_until_blocked(&reader))
        _exit(1);
    is_locked = true;
    if (!wait_until_blocked(&writer) || write(1, "ready\n", 6) != 6)
        _exit(1);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    return 0;
}
