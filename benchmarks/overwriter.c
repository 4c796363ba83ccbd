/* Write over the argument, as the first act of all, and wait some milliseconds:
 * overwriter TEXT. Nothing runs before, not even the C library's start. */
#define _DEFAULT_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void begin(long *stack);

#ifdef __x86_64__
__asm__(".globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call begin\n");
#else
__asm__(".globl _start\n_start: mov x0, sp\n bl begin\n");
#endif

/* On the stack there are the count of arguments, and where each is. */
void begin(long *stack)
{
    for (volatile char *byte = (char *)stack[2]; stack[0] > 1 && *byte != 0; byte++)
        *byte = 'x';
    syscall(SYS_nanosleep, &(struct timespec){.tv_nsec = 5000000}, NULL);
    _exit(0);
}
