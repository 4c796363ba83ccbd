/*
 * A load of commands, two at a time, and who ran them:
 *
 *   commands short COUNT    run `true MARK` COUNT times
 *   commands chains COUNT   run `sh -c 'exec true MARK'` COUNT times
 *   commands overwrite COUNT
 *                           run `overwriter MARK` COUNT times, from the same folder
 *
 * MARK is "m" and six digits, another for each. Says a line for each when all have
 * ended: its pid and its mark.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { AT_A_TIME = 2 };
enum kind { SHORT, CHAINS, OVERWRITE };

static char overwriter[4096];

static pid_t run(enum kind kind, long number)
{
    char mark[16], line[32];
    char *directly[] = {"true", mark, NULL}, *by_shell[] = {"sh", "-c", line, NULL};
    char *overwriting[] = {"overwriter", mark, NULL};
    char *environment[] = {"PATH=/usr/bin:/bin", NULL};
    pid_t pid;

    snprintf(mark, sizeof mark, "m%06ld", number % 1000000);
    snprintf(line, sizeof line, "exec true %s", mark);
    pid = vfork();
    if (pid == 0) {
        if (kind == SHORT)
            execve("/bin/true", directly, environment);
        else if (kind == CHAINS)
            execve("/bin/sh", by_shell, environment);
        else
            execve(overwriter, overwriting, environment);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, NULL, 0) < 0)
        perror("a command"), exit(1);
    return pid;
}

int main(int argc, char **argv)
{
    long count = argc == 3 ? atol(argv[2]) : 0;
    enum kind kind = SHORT;
    size_t size = (size_t)count * sizeof(pid_t);
    pid_t *pids;

    if (count <= 0)
        return 2;
    if (strcmp(argv[1], "chains") == 0)
        kind = CHAINS;
    else if (strcmp(argv[1], "overwrite") == 0)
        kind = OVERWRITE;
    snprintf(overwriter, sizeof overwriter, "%.*soverwriter",
             (int)(strrchr(argv[0], '/') + 1 - argv[0]), argv[0]);
    pids = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (pids == MAP_FAILED)
        perror("mmap"), exit(1);
    for (long worker = 0; worker < AT_A_TIME; worker++) {
        if (fork() != 0)
            continue;
        for (long i = worker; i < count; i += AT_A_TIME)
            pids[i] = run(kind, i);
        _exit(0);
    }
    for (long worker = 0; worker < AT_A_TIME; worker++)
        wait(NULL);
    for (long i = 0; i < count; i++)
        printf("%d m%06ld\n", pids[i], i);
    return 0;
}
