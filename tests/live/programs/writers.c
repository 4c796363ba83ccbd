/* Run COUNT children, one after the other; each writes a different number of KiB and exits.
 *
 *   writers wrap COUNT   with the PIDs that the kernel allocates
 *   writers set COUNT    all with the same PID, as root
 *
 * Prints for each child: PID, KiB, CLOCK_MONOTONIC before its start and after its end.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_KIB = 900 };

static char bytes[MAX_KIB * 1024];

static long long now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static pid_t fork_as(pid_t chosen)
{
    struct clone_args arguments = {
        .exit_signal = SIGCHLD, .set_tid = (uintptr_t)&chosen, .set_tid_size = 1};

    return (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
}

int main(int argc, char **argv)
{
    long count = argc == 3 ? atol(argv[2]) : 0, kib;
    int is_set = argc == 3 && strcmp(argv[1], "set") == 0, fd = open("/dev/null", O_WRONLY);
    pid_t chosen = 0, child;
    long long began;

    if (is_set) { /* a PID that is free */
        chosen = fork();
        if (chosen == 0)
            _exit(1);
        waitpid(chosen, NULL, 0);
    }
    for (long i = 0; i < count; i++) {
        kib = i % MAX_KIB + 1;
        began = now();
        child = is_set ? fork_as(chosen) : vfork();
        if (child == 0)
            _exit(write(fd, bytes, kib * 1024) != kib * 1024);
        if (child < 0) {
            perror(argv[1]);
            return 1;
        }
        waitpid(child, NULL, 0);
        printf("%d %ld %lld %lld\n", (int)child, kib, began, now());
    }
    return 0;
}
