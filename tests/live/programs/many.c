/* Make many processes: `many chain N`, each forks the next one and ends at once, or
 * `many siblings N`, all alive at the same time. Ends with 7.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t fork_patiently(void)
{
    pid_t pid;

    while ((pid = fork()) < 0)
        usleep(1000);
    return pid;
}

int main(int argc, char **argv)
{
    int ends[2];
    char nothing;
    long left;

    if (argc < 3 || pipe(ends) != 0)
        return 1;
    left = atol(argv[2]);
    if (strcmp(argv[1], "chain") == 0) {
        if (fork_patiently() == 0) {
            while (--left > 0)
                if (fork_patiently() > 0)
                    _exit(0);
            _exit(0);
        }
    } else {
        while (left-- > 0)
            if (fork_patiently() == 0) {
                close(ends[1]);
                _exit((int)read(ends[0], &nothing, 1));
            }
    }
    close(ends[1]);
    while (read(ends[0], &nothing, 1) < 0)
        ;
    while (wait(NULL) > 0)
        ;
    return 7;
}
