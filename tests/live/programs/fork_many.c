/* Fork N processes, then exit with status 7.
 *
 *   fork_many chain N       each forks the next one and ends at once
 *   fork_many siblings N    all are alive at the same time
 */
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t fork_with_retry(void)
{
    pid_t pid;

    while ((pid = fork()) < 0)
        usleep(1000);
    return pid;
}

int main(int argc, char **argv)
{
    int ends[2];
    char byte;
    long remaining;

    if (argc < 3 || pipe(ends) != 0)
        return 1;
    remaining = atol(argv[2]);
    if (strcmp(argv[1], "chain") == 0) {
        if (fork_with_retry() == 0) {
            while (--remaining > 0)
                if (fork_with_retry() > 0)
                    _exit(0);
            _exit(0);
        }
    } else {
        while (remaining-- > 0)
            if (fork_with_retry() == 0) {
                close(ends[1]);
                _exit((int)read(ends[0], &byte, 1));
            }
    }
    close(ends[1]);
    while (read(ends[0], &byte, 1) < 0)
        ;
    while (wait(NULL) > 0)
        ;
    return 7;
}
