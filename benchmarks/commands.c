/*
 * Runs short commands, two at a time:
 *
 *   commands short COUNT      run `true MARK` COUNT times
 *   commands chains COUNT     run `sh -c 'exec true MARK'` COUNT times
 *   commands overwrite COUNT  run `overwriter MARK`, from the same folder, COUNT times
 *
 * MARK is "m" and six digits, different for each command. At the end, prints each
 * command's PID and mark on a line.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORKERS = 2 };
enum kind { SHORT, CHAINS, OVERWRITE };

static char overwriter[4096];

static pid_t run(enum kind kind, long number)
{
    char mark[16], line[32];
    char *program[] = {"true", mark, NULL}, *shell[] = {"sh", "-c", line, NULL};
    char *overwriting[] = {"overwriter", mark, NULL};
    char *environment[] = {"PATH=/usr/bin:/bin", NULL};
    pid_t pid;

    snprintf(mark, sizeof mark, "m%06ld", number % 1000000);
    snprintf(line, sizeof line, "exec true %s", mark);
    pid = vfork();
    if (pid == 0) {
        if (kind == SHORT)
            execve("/bin/true", program, environment);
        else if (kind == CHAINS)
            execve("/bin/sh", shell, environment);
        else
            execve(overwriter, overwriting, environment);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, NULL, 0) < 0)
        perror("commands"), exit(1);
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
    for (long worker = 0; worker < WORKERS; worker++) {
        if (fork() != 0)
            continue;
        for (long i = worker; i < count; i += WORKERS)
            pids[i] = run(kind, i);
        _exit(0);
    }
    for (long worker = 0; worker < WORKERS; worker++)
        wait(NULL);
    for (long i = 0; i < count; i++)
        printf("%d m%06ld\n", pids[i], i);
    return 0;
}
