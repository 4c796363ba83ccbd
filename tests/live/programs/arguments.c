/* Tamper with its own argv, print "ready", and wait for EOF on stdin.
 *
 *   arguments write TEXT        overwrite TEXT
 *   arguments protect TEXT      make a page in the middle of TEXT unreadable
 *   arguments replace TEXT      map a file over that page
 *   arguments fault TEXT        register that page with userfaultfd and never resolve faults
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static void block_faults(char *page, size_t size)
{
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
    struct uffdio_api api = {.api = UFFD_API};
    struct uffdio_register range = {{(uintptr_t)page, size}, UFFDIO_REGISTER_MODE_MISSING, 0};

    if (fd < 0)
        fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
    if (ioctl(fd, UFFDIO_API, &api) != 0 || ioctl(fd, UFFDIO_REGISTER, &range) != 0 ||
        madvise(page, size, MADV_DONTNEED) != 0)
        perror("userfaultfd");
}

int main(int argc, char **argv)
{
    char *text = argv[argc - 1];
    size_t length = strlen(text), size = (size_t)sysconf(_SC_PAGESIZE);
    char *page = (char *)(((uintptr_t)text + length / 2) / size * size);

    if (strcmp(argv[1], "write") == 0)
        memset(text, 'w', length);
    else if (strcmp(argv[1], "protect") == 0)
        mprotect(page, size, PROT_NONE);
    else if (strcmp(argv[1], "replace") == 0)
        mmap(page, size, PROT_READ, MAP_PRIVATE | MAP_FIXED, open("/proc/self/exe", O_RDONLY), 0);
    else if (strcmp(argv[1], "fault") == 0)
        block_faults(page, size);
    puts("ready");
    fflush(stdout);
    while (getchar() != EOF)
        ;
    return 0;
}
