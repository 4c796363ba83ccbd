/* Keep a CPU from all others: hog CPU spins at real-time priority 90, for each line of stdin
 * as many microseconds as it says; writes a byte before, and one after. Needs CAP_SYS_NICE. */
#define _GNU_SOURCE
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
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
    char line[32];

    if (argc < 2)
        return 2;
    CPU_ZERO(&cpus);
    CPU_SET(atoi(argv[1]), &cpus);
    if (sched_setaffinity(0, sizeof cpus, &cpus) != 0 ||
        sched_setscheduler(0, SCHED_FIFO, &priority) != 0)
        return 1;
    while (fgets(line, sizeof line, stdin) != NULL) {
        until_ns = now_ns() + atol(line) * 1000;
        if (write(1, ".", 1) != 1)
            return 1;
        while (now_ns() < until_ns)
            ;
        if (write(1, ".", 1) != 1)
            return 1;
    }
    return 0;
}
