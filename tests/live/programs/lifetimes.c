/* End in a way that is easy to report wrongly: lifetimes HOW. Prints the PID to observe
 * first, and continues at EOF on stdin. */

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

/* Wait until the thread-group leader is a zombie. */
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

static void print_pid(pid_t pid)
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

static void *sleep_forever(void *unused)
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

static void *wait_for_leader_and_run(void *run)
{
    void *(*function)(void *) = *(void *(**)(void *))run;

    wait_for_leader();
    print_pid(getpid());
    return function(NULL);
}

/* The leader exits first, with 3, which is not the status of the process. */
static void exit_leader_first(void *(*run)(void *))
{
    static void *(*function)(void *);
    pthread_t thread;

    function = run;
    if (pthread_create(&thread, NULL, wait_for_leader_and_run, &function) != 0)
        abort();
    syscall(SYS_exit, 3);
}

/* Daemonize: the process to observe is reparented, as its parent ends at once. */
static void fork_twice(void)
{
    pid_t child = fork();

    if (child == 0) {
        if (fork() != 0)
            _exit(0);
        setsid();
        print_pid(getpid());
        wait_for_input();
        _exit(4);
    }
    waitpid(child, NULL, 0);
}

static void run_in_thread(void *(*run)(void *))
{
    print_pid(getpid());
    start(sleep_forever);
    start(run);
    pause();
}

static void join_threads(void)
{
    print_pid(getpid());
    wait_for_input();
    for (int i = 0; i < 200; i++)
        pthread_join(start(return_at_once), NULL);
    _exit(7);
}

static void dump_core(void)
{
    print_pid(getpid());
    for (int i = 0; i < 3; i++)
        start(sleep_forever);
    wait_for_input();
    abort();
}

int main(int argc, char **argv)
{
    const char *how = argc == 2 ? argv[1] : "";

    if (strcmp(how, "leader-first") == 0)
        exit_leader_first(end_by_exit);
    else if (strcmp(how, "leader-first-alone") == 0)
        exit_leader_first(end_alone);
    else if (strcmp(how, "leader-first-killed") == 0)
        exit_leader_first(end_by_signal);
    else if (strcmp(how, "leader-first-exec") == 0)
        exit_leader_first(end_by_exec);
    else if (strcmp(how, "exec-by-thread") == 0)
        run_in_thread(end_by_exec);
    else if (strcmp(how, "exit-by-thread") == 0)
        run_in_thread(end_by_exit);
    else if (strcmp(how, "joined") == 0)
        join_threads();
    else if (strcmp(how, "core") == 0)
        dump_core();
    else if (strcmp(how, "double-fork") == 0)
        fork_twice();
    else
        return 2;
    return 0;
}
