/* Show arguments that nobody started this program with, and a stack that begins elsewhere:
 *   forge SERIAL
 *
 * For some milliseconds, and others all the time: some of its own making, and those of
 * the program before. PR_SET_MM_MAP takes no privilege.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { FORGING_NS = 5000000, ROOM = 4096 };

static char page[ROOM];

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int main(int argc, char **argv)
{
    uint64_t at = (uintptr_t)page, stack = (uintptr_t)argv;
    struct prctl_mm_map map = {.start_code = at, .end_code = at + 1, .start_data = at,
                               .end_data = at, .start_brk = at, .brk = at,
                               .env_start = at, .env_end = at, .exe_fd = (uint32_t)-1};
    int64_t until_ns = now_ns() + FORGING_NS;
    char path[ROOM / 2] = "";
    size_t size;

    if (argc != 2 || readlink("/proc/self/exe", path, sizeof path - 1) < 0)
        return 2;
    for (int i = 0; now_ns() < until_ns; i++) {
        if (i % 2 == 0)
            size = (size_t)sprintf(page, "forged%c%d", 0, i) + 1;
        else
            size = (size_t)sprintf(page, "first%c%s%cplain%c%s", 0, argv[1], 0, 0, path) + 1;
        map.arg_start = at;
        map.arg_end = at + size;
        map.start_stack = stack - 16 * (uint64_t)(i % 1000);
        if (prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof map, 0) != 0) {
            perror("PR_SET_MM_MAP");
            return 1;
        }
    }
    return 0;
}
