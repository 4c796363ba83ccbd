/* Run another program after some milliseconds, with equal arguments: the one that NEXT
 * names, without it; then wait for the end of stdin. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    const char *next = getenv("NEXT");
    char *nothing[] = {NULL};

    (void)argc;
    if (next != NULL) {
        usleep(3000);
        execve(next, argv, nothing);
        return 1;
    }
    puts("ready");
    fflush(stdout);
    while (getchar() != EOF)
        ;
    return 0;
}
