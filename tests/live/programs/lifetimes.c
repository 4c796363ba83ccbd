/* A process that lives and ends in one of the ways that are easily told wrongly:
 * lifetimes HOW. It goes on when its input ends, and first prints the pid to follow. */

#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void wait_for_input(void)
{
    char byte;

    while (read(0, &byte, 1) > 0)
        ;
}

/* Waits until the first thread has ended, and could be reaped but for the others. */
static void wait_for_leader(void)
{
    char text[512];
    FILE *stat;
    char state = ' ';

    while (state != 'Z') {
        stat = fopen("/proc/self/stat", "r");
        if (stat == NULL || fgets(text, sizeof text, stat) == NULL)
            abort();
        fclose(stat);
        state = strrchr(text, ')')[2];
    }
}

static void tell(pid_t pid)
{
    printf("%d\n", (int)pid);
    fflush(stdout);
}

static void *end_by_exit(void *unused)
{
    wait_for_input();
    _exit(7);
    return unused;
}

static void *end_alone(void *unused)
{
    wait_for_input();
    syscall(SYS_exit, 5);
    return unused;
}

static void *end_by_signal(void *unused)
{
    wait_for_input();
    raise(SIGKILL);
    return unused;
}

static void *end_by_exec(void *unused)
{
    wait_for_input();
    execl("/bin/sh", "sh", "-c", "exit 6", (char *)NULL);
    return unused;
}

static void *sleep_on(void *unused)
{
    pause();
    return unused;
}

static void *return_at_once(void *unused)
{
    return unused;
}

static pthread_t start(void *(*run)(void *))
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, run, NULL) != 0)
        abort();
    return thread;
}

static void *tell_and_run(void *run)
{
    void *(*function)(void *) = *(void *(**)(void *))run;

    wait_for_leader();
    tell(getpid());
    return function(NULL);
}

/* The first thread ends with 3, which is not the process's status, before the other. */
static void leave(void *(*run)(void *))
{
    static void *(*kept)(void *);
    pthread_t thread;

    kept = run;
    if (pthread_create(&thread, NULL, tell_and_run, &kept) != 0)
        abort();
    syscall(SYS_exit, 3);
}

/* The grandchild is not its maker's child, and its parent ends at once. */
static void fork_twice(void)
{
    pid_t child = fork();

    if (child == 0) {
        if (fork() != 0)
            _exit(0);
        setsid();
        tell(getpid());
        wait_for_input();
        _exit(4);
    }
    waitpid(child, NULL, 0);
}

static void stay(void *(*run)(void *))
{
    tell(getpid());
    start(sleep_on);
    start(run);
    pause();
}

static void join(void)
{
    tell(getpid());
    wait_for_input();
    for (int i = 0; i < 200; i++)
        pthread_join(start(return_at_once), NULL);
    _exit(7);
}

static void dump_core(void)
{
    tell(getpid());
    for (int i = 0; i < 3; i++)
        start(sleep_on);
    wait_for_input();
    abort();
}

int main(int argc, char **argv)
{
    const char *how = argc == 2 ? argv[1] : "";

    if (strcmp(how, "leader-first") == 0)
        leave(end_by_exit);
    else if (strcmp(how, "leader-first-alone") == 0)
        leave(end_alone);
    else if (strcmp(how, "leader-first-killed") == 0)
        leave(end_by_signal);
    else if (strcmp(how, "leader-first-exec") == 0)
        leave(end_by_exec);
    else if (strcmp(how, "exec-by-thread") == 0)
        stay(end_by_exec);
    else if (strcmp(how, "exit-by-thread") == 0)
        stay(end_by_exit);
    else if (strcmp(how, "joined") == 0)
        join();
    else if (strcmp(how, "core") == 0)
        dump_core();
    else if (strcmp(how, "double-fork") == 0)
        fork_twice();
    else
        return 2;
    return 0;
}
