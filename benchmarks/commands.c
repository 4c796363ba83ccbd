/*
 * A load of commands, two at a time, and who ran them:
 *
 *   commands short COUNT    run `true MARK` COUNT times
 *   commands chains COUNT   run `sh -c 'exec true MARK'` COUNT times
 *
 * MARK is "m" and six digits, another for each. Says a line for each when all have
 * ended: its pid and its mark.
 */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { AT_A_TIME = 2 };

static pid_t run(bool chain, long number)
{
    char mark[16], line[32];
    char *directly[] = {"true", mark, NULL}, *by_shell[] = {"sh", "-c", line, NULL};
    char *environment[] = {"PATH=/usr/bin:/bin", NULL};
    pid_t pid;

    snprintf(mark, sizeof mark, "m%06ld", number % 1000000);
    snprintf(line, sizeof line, "exec true %s", mark);
    pid = vfork();
    if (pid == 0) {
        execve(chain ? "/bin/sh" : "/bin/true", chain ? by_shell : directly, environment);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, NULL, 0) < 0)
        perror("a command"), exit(1);
    return pid;
}

int main(int argc, char **argv)
{
    long count = argc == 3 ? atol(argv[2]) : 0;
    bool chain = argc == 3 && strcmp(argv[1], "chains") == 0;
    size_t size = (size_t)count * sizeof(pid_t);
    pid_t *pids;

    if (count <= 0)
        return 2;
    pids = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (pids == MAP_FAILED)
        perror("mmap"), exit(1);
    for (long worker = 0; worker < AT_A_TIME; worker++) {
        if (fork() != 0)
            continue;
        for (long i = worker; i < count; i += AT_A_TIME)
            pids[i] = run(chain, i);
        _exit(0);
    }
    for (long worker = 0; worker < AT_A_TIME; worker++)
        wait(NULL);
    for (long i = 0; i < count; i++)
        printf("%d m%06ld\n", pids[i], i);
    return 0;
}
