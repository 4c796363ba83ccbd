/* Keep a CPU from all others: hog CPU MILLISECONDS spins so long, at real-time priority 90,
 * for each byte of stdin; says so with a byte first. Needs CAP_SYS_NICE. */
#define _GNU_SOURCE
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int main(int argc, char **argv)
{
    struct sched_param priority = {.sched_priority = 90};
    int64_t until_ns;
    cpu_set_t cpus;
    char byte;

    if (argc < 3)
        return 2;
    CPU_ZERO(&cpus);
    CPU_SET(atoi(argv[1]), &cpus);
    if (sched_setaffinity(0, sizeof cpus, &cpus) != 0 ||
        sched_setscheduler(0, SCHED_FIFO, &priority) != 0)
        return 1;
    while (read(0, &byte, 1) == 1) {
        until_ns = now_ns() + atol(argv[2]) * 1000000;
        if (write(1, &byte, 1) != 1)
            return 1;
        while (now_ns() < until_ns)
            ;
    }
    return 0;
}
