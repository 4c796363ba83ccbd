/* If NEXT is set, execute that file after 3 ms, with the same argv and no environment;
 * otherwise wait for EOF on stdin. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    const char *next = getenv("NEXT");
    char *empty[] = {NULL};

    (void)argc;
    if (next != NULL) {
        usleep(3000);
        execve(next, argv, empty);
        return 1;
    }
    puts("ready");
    fflush(stdout);
    while (getchar() != EOF)
        ;
    return 0;
}
