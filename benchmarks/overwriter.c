/* Write over the argument, as the first act of all: overwriter TEXT. */
#include <string.h>

int main(int argc, char **argv)
{
    if (argc > 1)
        memset(argv[1], 'x', strlen(argv[1]));
    return 0;
}
