/* Forge its own argv and startstack in /proc for 5 ms: forge SERIAL
 *
 * Alternates between an invented argv and that of the previous program. PR_SET_MM_MAP needs
 * no privilege. The kernel shows argv from anonymous memory only.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { FORGING_NS = 5000000, INTERVAL_NS = 50000, CAPACITY = 4096 };

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int main(int argc, char **argv)
{
    char *page = mmap(NULL, CAPACITY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t at = (uintptr_t)page, stack = (uintptr_t)argv;
    struct prctl_mm_map map = {.start_code = at,
                               .end_code = at + 1,
                               .start_data = at,
                               .end_data = at,
                               .start_brk = at,
                               .brk = at,
                               .env_start = at,
                               .env_end = at,
                               .exe_fd = (uint32_t)-1};
    int64_t until_ns = now_ns() + FORGING_NS, next_ns;
    char path[CAPACITY / 2] = "";
    size_t size;

    if (argc != 2 || readlink("/proc/self/exe", path, sizeof path - 1) < 0)
        return 2;
    for (int i = 0; now_ns() < until_ns; i++) {
        next_ns = now_ns() + INTERVAL_NS * (1 + atoi(argv[1]) % 6);
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
        while (now_ns() < next_ns)
            ;
    }
    return 0;
}
