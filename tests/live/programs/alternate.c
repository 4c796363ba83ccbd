/* Alternate between two executables every 300 microseconds, with the same argv (the two
 * paths), for at most a minute. */
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    static char *first[] = {"NOW=1", NULL}, *second[] = {"NOW=2", NULL};
    const char *now = getenv("NOW");

    if (argc != 2)
        return 1;
    if (now == NULL)
        alarm(60); /* kept across exec */
    usleep(300);
    if (now == NULL || now[0] == '2')
        execve(argv[0], argv, first);
    else
        execve(argv[1], argv, second);
    return 1;
}
