/* Run itself again, so often, with equal arguments; then wait for the end of stdin. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    const char *times = getenv("TIMES");
    char left[16];

    (void)argc;
    if (times != NULL && atoi(times) > 0) {
        snprintf(left, sizeof left, "%d", atoi(times) - 1);
        setenv("TIMES", left, 1);
        execv("/proc/self/exe", argv);
        return 1;
    }
    puts("ready");
    fflush(stdout);
    while (getchar() != EOF)
        ;
    return 0;
}
