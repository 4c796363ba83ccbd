#include "system/system.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { STACK_SIZE = 262144 }; /* musl's default is half of it */

int64_t procconn_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

int procconn_start_detached(void *(*run)(void *), void *argument)
{
    sigset_t all, before;
    pthread_attr_t attributes;
    pthread_t thread;
    int error;

    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&thread, &attributes, run, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return error == 0 ? 0 : -EAGAIN;
}

void procconn_close_descriptor(int *fd)
{
    int closed = *fd;

    *fd = -1;
    if (closed >= 0)
        close(closed);
}

void *procconn_map(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return memory == MAP_FAILED ? NULL : memory;
}

int64_t procconn_earlier(int64_t a, int64_t b)
{
    if (a < 0 || b < 0)
        return a < 0 ? b : a;
    return a < b ? a : b;
}

int procconn_sleep(int fd, int wake, int64_t until_ns)
{
    struct pollfd watched[2] = {{.fd = wake, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    struct timespec left = {0};
    int64_t left_ns;
    int ready;

    if (until_ns >= 0) {
        left_ns = until_ns - procconn_now_ns();
        if (left_ns > 0) {
            left.tv_sec = (time_t)(left_ns / NS_PER_S);
            left.tv_nsec = (long)(left_ns % NS_PER_S);
        }
    }
    ready = ppoll(watched, fd < 0 ? 1 : 2, until_ns >= 0 ? &left : NULL, NULL);
    if (ready < 0)
        return -errno;
    if (watched[0].revents != 0)
        return -ECANCELED;
    return ready > 0;
}
