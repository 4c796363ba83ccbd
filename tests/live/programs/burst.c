/* Execute a program in several processes at the same time: burst COUNT PATH ARGUMENTS...
 *
 * For a byte on stdin, forks COUNT children and prints their PIDs, one per line. For the next
 * byte, all children execute PATH at once. Their argv is the base name of PATH, a serial
 * number unique to the child, and ARGUMENTS. Prints "ended" when the children and their
 * descendants have ended, and starts over.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_COUNT = 64 };

int main(int argc, char **argv)
{
    int count = argc > 2 ? atoi(argv[1]) : 0, serial = 0, start[2];
    char *path = argv[2], *name, byte, text[16];
    struct rlimit limit;
    pid_t pids[MAX_COUNT];

    if (count <= 0 || count > MAX_COUNT)
        return 2;
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    getrlimit(RLIMIT_STACK, &limit);
    limit.rlim_cur = limit.rlim_max; /* for a large environment */
    setrlimit(RLIMIT_STACK, &limit);
    name = strrchr(path, '/') + 1;
    while (read(0, &byte, 1) == 1) {
        if (pipe(start) != 0)
            return 1;
        for (int i = 0; i < count; i++, serial++) {
            pids[i] = fork();
            if (pids[i] != 0)
                continue;
            snprintf(text, sizeof text, "%d", serial);
            argv[1] = name;
            argv[2] = text;
            close(start[1]);
            if (read(start[0], &byte, 1) == 0) {
                close(start[0]);
                execv(path, argv + 1);
            }
            _exit(127);
        }
        for (int i = 0; i < count; i++)
            printf("%d\n", pids[i]);
        fflush(stdout);
        if (read(0, &byte, 1) != 1)
            return 1;
        close(start[0]);
        close(start[1]);
        while (wait(NULL) > 0)
            ;
        puts("ended");
        fflush(stdout);
    }
    return 0;
}
