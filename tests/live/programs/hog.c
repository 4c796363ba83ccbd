/* Occupy a CPU at real-time priority 90: hog CPU. Needs CAP_SYS_NICE.
 *
 * For each line of stdin, "MICROSECONDS [PID NAME]", first spins until the process has that
 * name (for a second at most), then for that time. Writes one byte before and one after.
 * Reads only /proc/PID/comm, which takes no sleeping lock, so the CPU is never given up.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { TIMEOUT_NS = 1000000000 };

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void spin(int64_t ns)
{
    int64_t until_ns = now_ns() + ns;

    while (now_ns() < until_ns)
        ;
}

static void spin_until_named(int pid, const char *name)
{
    int64_t until_ns = now_ns() + TIMEOUT_NS;
    char path[32], shown[32] = "";
    ssize_t size = 1;
    int fd;

    snprintf(path, sizeof path, "/proc/%d/comm", pid);
    fd = open(path, O_RDONLY);
    while (size > 0 && strcmp(shown, name) != 0 && now_ns() < until_ns) {
        size = pread(fd, shown, sizeof shown, 0);
        if (size > 0)
            shown[size - 1] = 0;
    }
    close(fd);
}

int main(int argc, char **argv)
{
    struct sched_param priority = {.sched_priority = 90};
    char line[64], name[32];
    int microseconds, pid;
    cpu_set_t cpus;

    CPU_ZERO(&cpus);
    CPU_SET(argc > 1 ? atoi(argv[1]) : 0, &cpus);
    if (sched_setaffinity(0, sizeof cpus, &cpus) != 0 ||
        syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, &priority) != 0) /* a stub in musl */
        return 1;
    while (fgets(line, sizeof line, stdin) != NULL) {
        pid = 0;
        sscanf(line, "%d %d %31s", &microseconds, &pid, name);
        if (write(1, ".", 1) != 1)
            return 1;
        if (pid != 0)
            spin_until_named(pid, name);
        spin((int64_t)microseconds * 1000);
        if (write(1, ".", 1) != 1)
            return 1;
    }
    return 0;
}
