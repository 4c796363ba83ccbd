/* Execute one program after the other without delay: stages SERIAL [HOW PATH]...
 *
 *   plain      execve(2) only
 *   strings    with an environment of 600,000 strings, which makes execve(2) slow
 *   clone      while another process shares the memory (CLONE_VM)
 *   vfork      while a vfork(2) child runs in the same memory
 *   thread     from a thread other than the thread-group leader
 *   open-file  with the file $FILE open and close-on-exec
 *
 * argv of the next program is the base name of PATH, SERIAL, and the remaining arguments.
 * The last program sleeps for 5 ms and exits.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STRINGS = 600000, STACK = 65536, SHARING_US = 20000, LAST_US = 5000 };

static volatile bool is_shared;

static int share(void *unused)
{
    (void)unused;
    is_shared = true;
    usleep(SHARING_US);
    _exit(0);
}

static void *share_by_vfork(void *unused)
{
    if (vfork() == 0)
        share(NULL);
    return unused;
}

static void run(char **argv, char **environment)
{
    char *path = argv[3], *name = strrchr(path, '/');

    argv[3] = argv[1];
    argv[2] = name == NULL ? path : name + 1;
    execve(path, argv + 2, environment);
    _exit(127);
}

static void *run_by_thread(void *argv)
{
    run(argv, environ);
    return NULL;
}

int main(int argc, char **argv)
{
    const char *how = argc > 3 ? argv[2] : "last";
    char **environment = environ;
    pthread_t thread;

    if (strcmp(how, "last") == 0) {
        usleep(LAST_US);
        return 0;
    }
    if (strcmp(how, "strings") == 0) {
        environment = malloc((STRINGS + 1) * sizeof *environment);
        for (long i = 0; i < STRINGS; i++)
            environment[i] = "x";
        environment[STRINGS] = NULL;
    } else if (strcmp(how, "clone") == 0) {
        clone(share, (char *)malloc(STACK) + STACK, CLONE_VM | SIGCHLD, NULL);
    } else if (strcmp(how, "vfork") == 0) {
        pthread_create(&thread, NULL, share_by_vfork, NULL);
        while (!is_shared)
            usleep(10);
    } else if (strcmp(how, "thread") == 0) {
        pthread_create(&thread, NULL, run_by_thread, argv);
        pause();
    } else if (strcmp(how, "open-file") == 0) {
        open(getenv("FILE"), O_RDONLY | O_CLOEXEC);
    }
    run(argv, environment);
}
